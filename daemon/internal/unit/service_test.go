package unit_test

import (
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/pkg/dbustest"
)

// The service fails in the middle of the look: what was seen before counts as
// nothing.
func TestLastRunIsOfOneMoment(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	f := newPID1(t, b)
	var mu sync.Mutex // godbus answers calls side by side
	looks := 0
	get := func(_, name string) (dbus.Variant, *dbus.Error) {
		mu.Lock()
		defer mu.Unlock()
		if name == "ActiveState" {
			looks++
		}
		now := 0
		if looks > 1 {
			now = 1
		}
		return dbus.MakeVariant(map[string][2]any{
			"ActiveState":    {"active", "failed"},
			"MainPID":        {uint32(42), uint32(0)},
			"ExecMainPID":    {uint32(42), uint32(42)},
			"ExecMainCode":   {int32(0), int32(1)},
			"ExecMainStatus": {int32(0), int32(7)},
			"Result":         {"success", "exit-code"},
			"InvocationID":   {[]byte{1}, []byte{1}},
			"Type":           {"notify", "notify"},
			"Job":            {[]any{uint32(5), dbus.ObjectPath("/job")}, []any{uint32(0), dbus.ObjectPath("/")}},
		}[name][now]), nil
	}
	if err := f.conn.ExportMethodTable(map[string]any{"Get": get}, unitPath("web.service"), properties); err != nil {
		t.Fatal(err)
	}
	m := connect(t, b)
	got, err := m.LastRun(t.Context(), "web.service")
	want := unit.Run{Type: "notify", State: "failed", Result: "exit-code", LastPID: 42, ExitCode: 1, ExitStatus: 7, Invocation: [16]byte{1}}
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

// A unit that waits for its turn to start is not over.
func TestUnitIsOver(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	f := newPID1(t, b)
	type reference struct {
		ID   uint32
		Path dbus.ObjectPath
	}
	job, none := reference{5, "/job"}, reference{0, "/"}
	for name, now := range map[string]struct {
		state string
		job   reference
		want  bool
	}{
		"over.service":    {"inactive", none, true},
		"failed.service":  {"failed", none, true},
		"queued.service":  {"inactive", job, false},
		"running.service": {"active", none, false},
		"ending.service":  {"deactivating", job, false},
	} {
		get := func(_, name string) (dbus.Variant, *dbus.Error) {
			return dbus.MakeVariant(map[string]any{
				"ActiveState": now.state, "Job": now.job, "RefuseManualStop": false, "FreezerState": "running", "Restart": "no", "MainPID": uint32(0),
			}[name]), nil
		}
		if err := f.conn.ExportMethodTable(map[string]any{"Get": get}, unitPath(name), properties); err != nil {
			t.Fatal(err)
		}
		if over, err := connect(t, b).IsOver(t.Context(), name); over != now.want || err != nil {
			t.Errorf("%s is over: %t, %v", name, over, err)
		}
	}
}
