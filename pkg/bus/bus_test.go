package bus_test

import (
	"os"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/dbustest"
)

const serverName = "org.example.Server"

// A served descriptor is one, in all the places where it can be.
type served struct{ FD dbus.UnixFD }

// What a reply brings against all expectation does not stay open.
func TestDescriptorsThatNobodyTakesAreClosed(t *testing.T) {
	b := dbustest.New(t)
	server := b.Dial()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	fd := dbus.UnixFD(null.Fd())
	methods := map[string]any{"Give": func() (dbus.UnixFD, []served, map[string]served, *dbus.Error) {
		return fd, []served{{fd}, {fd}}, map[string]served{"a": {fd}}, nil
	}}
	if err := server.ExportMethodTable(methods, "/", serverName); err != nil {
		t.Fatal(err)
	}
	if _, err := server.RequestName(serverName, 0); err != nil {
		t.Fatal(err)
	}
	conn, err := bus.Dial(t.Context(), b.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	before := opened(t)
	give := func(out ...any) error {
		return bus.Call(t.Context(), conn, bus.Target{Name: serverName, Path: "/"}, serverName+".Give", false, nil, out...)
	}
	if err := give(); err != nil {
		t.Error(err)
	}
	var text string
	var first dbus.UnixFD
	for _, out := range [][]any{{&text}, {&first, &text, &text}} {
		if err := give(out...); err == nil {
			t.Errorf("it was stored in %d", len(out))
		}
	}
	for end := time.Now().Add(10 * time.Second); opened(t) != before; time.Sleep(time.Millisecond) { // the gate has its own for a moment
		if time.Now().After(end) {
			t.Fatalf("%d descriptors were left open", opened(t)-before)
		}
	}
}

func opened(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
