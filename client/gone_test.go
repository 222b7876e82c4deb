package client_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/client/internal/machine1test"
	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
)

func TestGoneWaitsForMachineAndUnit(t *testing.T) {
	t.Parallel()
	w, c := connect(t)
	w.Add(machine1test.C8NS())
	unit := "systemd-nspawn@c8-ns.service"
	gone, err := c.WatchGone(t.Context(), "c8-ns")
	if err != nil {
		t.Fatal(err)
	}
	defer gone.Close()
	m, err := c.Machine(t.Context(), "c8-ns")
	if err != nil {
		t.Fatal(err)
	}
	gone.AndUnit(m)
	if err := c.PowerOff(t.Context(), "c8-ns"); err != nil {
		t.Fatal(err)
	}
	w.SetUnit(unit, machine1test.Unit{Properties: map[string]any{"ActiveState": "deactivating"}})
	ended := make(chan error, 1)
	go func() { ended <- gone.Wait(t.Context()) }()
	w.AwaitCall("Get org.freedesktop.systemd1.Unit ActiveState")
	select {
	case err := <-ended:
		t.Fatalf("it did not wait for the unit: %v", err)
	default:
	}
	w.SetUnitState(unit, "inactive")
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestGoneSeesThroughARestart(t *testing.T) {
	t.Parallel()
	w, c := connect(t)
	w.Add(machine1test.C8NS())
	gone, err := c.WatchGone(t.Context(), "c8-ns")
	if err != nil {
		t.Fatal(err)
	}
	defer gone.Close()
	w.StopMachined()
	w.Remove("c8-ns") // with nobody there to say so
	if err := w.StartMachined(); err != nil {
		t.Fatal(err)
	}
	if err := gone.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestGoneBelievesOnlyTheDaemon(t *testing.T) {
	t.Parallel()
	w, c := connect(t)
	w.Add(machine1test.C8NS())
	gone, err := c.WatchGone(t.Context(), "c8-ns")
	if err != nil {
		t.Fatal(err)
	}
	defer gone.Close()
	liar, err := bus.Dial(t.Context(), w.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer liar.Close()
	// A signal to everybody, and one to every connection there can be.
	liar.Emit(machine1.ObjectPath, machine1.ManagerInterface+".MachineRemoved", "c8-ns", machine1.MachinePath("c8-ns"))
	for i := range 10 {
		liar.Send(&dbus.Message{Type: dbus.TypeSignal, Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldDestination: dbus.MakeVariant(fmt.Sprintf(":1.%d", i)),
			dbus.FieldPath:        dbus.MakeVariant(machine1.ObjectPath),
			dbus.FieldInterface:   dbus.MakeVariant(machine1.ManagerInterface),
			dbus.FieldMember:      dbus.MakeVariant("MachineRemoved"),
			dbus.FieldSignature:   dbus.MakeVariant(dbus.SignatureOf("", machine1.ObjectPath)),
		}, Body: []any{"c8-ns", machine1.MachinePath("c8-ns")}}, nil)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := gone.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, machine1.ErrTimeout) {
		t.Errorf("it believes a stranger, or does not tell of the time: %v", err)
	}
}

// The end of what ended before the watch is told by nobody, and nothing is told twice.
func TestGoneKnowsWhatIsGone(t *testing.T) {
	t.Parallel()
	_, c := connect(t)
	gone, err := c.WatchGone(t.Context(), "c8-ns")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := gone.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestAClosedWatchIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	w, c := connect(t)
	w.Add(machine1test.C8NS())
	gone, err := c.WatchGone(t.Context(), "c8-ns")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	gone.Close()
	if err := gone.Wait(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v, want os.ErrClosed", err)
	}
}
