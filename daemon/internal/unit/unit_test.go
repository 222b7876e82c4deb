package unit_test

import (
	"errors"
	"os"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/pkg/dbustest"
	"github.com/machd/machd/pkg/machine1"
)

func TestPropertiesAndDescriptorsOfATransientUnitGoOutAsTheyAre(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	pid1 := newPID1(t, b)
	m := connect(t, b).start()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()

	type device struct{ Path, Access string }
	props := []machine1.Property{
		{Name: "Slice", Value: dbus.MakeVariant("machine.slice")},
		{Name: "Reader", Value: dbus.MakeVariant(dbus.UnixFD(r.Fd()))},
		{Name: "Writer", Value: dbus.MakeVariant(dbus.UnixFD(w.Fd()))},
		{Name: "DeviceAllow", Value: dbus.MakeVariant([]device{{"/dev/net/tun", "rwm"}, {"char-pts", "rw"}})},
		{Name: "DeviceAllow", Value: dbus.MakeVariant([]device{{"/dev/fuse", "rwm"}})},
		{Name: "Slice", Value: dbus.MakeVariant("other.slice")},
	}
	job, err := m.StartTransient(t.Context(), "a.scope", "fail", props)
	if job != jobPath("1") || err != nil {
		t.Fatalf("StartTransient = %q, %v", job, err)
	}
	// The job was over before the reply came.
	if result, err := m.WaitJob(t.Context(), job); result != "done" || err != nil {
		t.Errorf("WaitJob = %q, %v, want done", result, err)
	}

	calls, files := pid1.heard()
	if len(calls) != 1 {
		t.Fatalf("there were the calls %v", calls)
	}
	got, _ := calls[0].Args[2].([]machine1.Property)
	var names, types []string
	for _, p := range got {
		names = append(names, p.Name)
		types = append(types, p.Value.Signature().String())
	}
	if diff := cmp.Diff(names, []string{"Slice", "Reader", "Writer", "DeviceAllow", "DeviceAllow", "Slice"}); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(types, []string{"s", "h", "h", "a(ss)", "a(ss)", "s"}); diff != "" {
		t.Error(diff)
	}
	if len(files) != 2 || !sameFile(t, files[0], r) || !sameFile(t, files[1], w) {
		t.Errorf("%d descriptors came, or others", len(files))
	}
	if _, err := r.Stat(); err != nil {
		t.Errorf("our own descriptor was closed: %v", err)
	}
}

func TestCallsOfPID1(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	pid1 := newPID1(t, b)
	m := connect(t, b)
	ctx := t.Context()

	if job, err := m.Stop(ctx, "a.service", "fail"); job != jobPath("2") || err != nil {
		t.Errorf("Stop = %q, %v", job, err)
	}
	for _, err := range []error{
		m.Kill(ctx, "a.service", "all", 9),
		m.KillSubgroup(ctx, "a.service", "cgroup", "payload", 15),
		m.Unref(ctx, "a.service"),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	want := []call{
		{"StopUnit", []any{"a.service", "fail"}},
		{"KillUnit", []any{"a.service", "all", int32(9)}},
		{"KillUnitSubgroup", []any{"a.service", "cgroup", "payload", int32(15)}},
		{"UnrefUnit", []any{"a.service"}},
	}
	calls, _ := pid1.heard()
	if diff := cmp.Diff(calls, want); diff != "" {
		t.Error(diff)
	}
}

func TestErrorsOfPID1KeepTheirNames(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	newPID1(t, b)
	m := connect(t, b)
	ctx := t.Context()

	start := func(name string) error {
		_, err := m.StartTransient(ctx, name, "fail", nil)
		return err
	}
	stop := func(name string) error { _, err := m.Stop(ctx, name, "fail"); return err }
	state := func(name string) error { _, err := m.ActiveState(ctx, name); return err }
	for _, c := range []struct {
		name string
		call func(string) error
		kind string
		want error
	}{
		{"a scope that exists", start, "UnitExists", machine1.ErrUnitExists},
		{"stopping what is not loaded", stop, "NoSuchUnit", machine1.ErrNoSuchUnit},
		{"stopping what cannot be loaded", stop, "LoadFailed", machine1.ErrNoSuchUnit},
		{"the state of what is not loaded", state, "NoSuchUnit", machine1.ErrNoSuchUnit},
		{"the state of what cannot be loaded", state, "LoadFailed", machine1.ErrNoSuchUnit},
		{"anything else", state, "ShuttingDown", nil},
	} {
		err := c.call("error." + c.kind)
		var remote *machine1.RemoteError
		if !errors.As(err, &remote) || machine1.ErrorName(err) != systemd1+"."+c.kind {
			t.Errorf("%s: %v is called %s", c.name, err, machine1.ErrorName(err))
		}
		if c.want != nil && !errors.Is(err, c.want) || c.want == nil && errors.Is(err, machine1.ErrNoSuchUnit) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestStatesOfUnitsAndJobs(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	pid1 := newPID1(t, b)
	m := connect(t, b)
	ctx := t.Context()

	if state, err := m.ActiveState(ctx, "active.service"); state != "active" || err != nil {
		t.Errorf("ActiveState = %q, %v, want active", state, err)
	}
	if state, err := m.ActiveState(ctx, "odd.service"); state != "" || err == nil {
		t.Errorf("ActiveState of what is no string = %q, %v", state, err)
	}
	// PID 1 is there, but its objects are not: that says nothing of the unit.
	if state, err := m.ActiveState(ctx, "strange.service"); err == nil || errors.Is(err, machine1.ErrNoSuchUnit) {
		t.Errorf("ActiveState of what has no object = %q, %v", state, err)
	}
	if exists, err := m.JobExists(ctx, jobPath("1")); !exists || err != nil {
		t.Errorf("JobExists of a job = %v, %v", exists, err)
	}
	if exists, err := m.JobExists(ctx, jobPath("2")); exists || err != nil {
		t.Errorf("JobExists of a job that is over = %v, %v", exists, err)
	}
	pid1.leave()
	if exists, err := m.JobExists(ctx, jobPath("1")); err == nil {
		t.Errorf("JobExists without PID 1 = %v, %v", exists, err)
	}
	if state, err := m.ActiveState(ctx, "active.service"); err == nil || errors.Is(err, machine1.ErrNoSuchUnit) {
		t.Errorf("ActiveState without PID 1 = %q, %v", state, err)
	}
}

func TestUnitFromPath(t *testing.T) {
	t.Parallel()
	for path, want := range map[dbus.ObjectPath]string{
		"/org/freedesktop/systemd1/unit/machine_2dc8_5cx2dns_2escope": `machine-c8\x2dns.scope`,
		"/org/freedesktop/systemd1/unit/_2d_2eslice":                  "-.slice",
		"/org/freedesktop/systemd1/unit/_31_2eservice":                "1.service",
		"/org/freedesktop/systemd1/unit/":                             "",
		"/org/freedesktop/systemd1/unit/_":                            "",
		"/org/freedesktop/systemd1/unit/a/b":                          "",
		"/org/freedesktop/systemd1/unitx":                             "",
		"/org/freedesktop/systemd1":                                   "",
		"/":                                                           "",
	} {
		if got, ok := unit.UnitFromPath(path); got != want || ok != (want != "") {
			t.Errorf("UnitFromPath(%q) = %q, %v, want %q", path, got, ok, want)
		}
	}
}

func FuzzUnitFromPath(f *testing.F) {
	f.Add(`machine-c8\x2dns.scope`)
	f.Add("1.service")
	f.Fuzz(func(t *testing.T, name string) {
		got, ok := unit.UnitFromPath(unitPath(name))
		if got != name || ok != (name != "") {
			t.Errorf("%q became %q, %v", name, got, ok)
		}
		unit.UnitFromPath(dbus.ObjectPath("/org/freedesktop/systemd1/unit/" + name))
	})
}
