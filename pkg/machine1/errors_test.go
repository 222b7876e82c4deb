package machine1_test

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machine1"
)

func TestErrorNames(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want string
	}{
		{machine1.ErrNoSuchMachine, "org.freedesktop.machine1.NoSuchMachine"},
		{fmt.Errorf("cannot do it: %w", machine1.ErrMachineExists), "org.freedesktop.machine1.MachineExists"},
		{machine1.Errorf(machine1.ErrInvalidArgs, "Invalid machine name"), "org.freedesktop.DBus.Error.InvalidArgs"},
		{fmt.Errorf("cannot open: %w", syscall.EACCES), "org.freedesktop.DBus.Error.AccessDenied"},
		{syscall.EBUSY, "System.Error.EBUSY"},
		{fmt.Errorf("cannot start: %w", &machine1.RemoteError{Name: "org.example.Odd"}), "org.example.Odd"},
		{errors.New("whatever"), "org.freedesktop.DBus.Error.Failed"},
	} {
		if got := machine1.ErrorName(c.err); got != c.want {
			t.Errorf("ErrorName(%v) = %s, want %s", c.err, got, c.want)
		}
	}
}

func TestErrorsKeepTheirIdentityAcrossTheBus(t *testing.T) {
	t.Parallel()
	for _, kind := range []error{
		machine1.ErrNoSuchMachine, machine1.ErrNoSuchImage, machine1.ErrMachineExists, machine1.ErrAccessDenied,
		machine1.ErrInteractionRequired, machine1.ErrServiceUnknown, machine1.ErrNotSupported, syscall.EBUSY, syscall.EEXIST,
	} {
		sent := machine1.Errorf(kind, "text")
		got := machine1.FromBus(dbus.Error{Name: machine1.ErrorName(sent), Body: []any{sent.Error()}})
		if !errors.Is(got, kind) {
			t.Errorf("%v came back as %#v", kind, got)
		}
		if got.Error() != "text" {
			t.Errorf("text came back as %q", got)
		}
	}
}

func TestFromBusLeavesOtherErrorsAlone(t *testing.T) {
	t.Parallel()
	if got := machine1.FromBus(dbus.ErrClosed); got != dbus.ErrClosed {
		t.Errorf("FromBus changed a local error into %v", got)
	}
}
