package vtable

import (
	"errors"
	"fmt"
	"strings"

	"github.com/machd/machd/daemon/internal/wire"
	"github.com/machd/machd/pkg/machine1"
)

const nameFailed = "org.freedesktop.DBus.Error.Failed"

// maxErrorText bounds what goes back of what a caller sent, in bytes.
const maxErrorText = 4 << 10

// The texts below are those that clients of sd-bus services know.
//
// Reference: bus-objects.c, object_find_and_run and the functions it calls.

func errUnknownObject(c *Call) error {
	return machine1.Errorf(machine1.ErrUnknownObject, "Unknown object '%s'.", c.Path)
}

// errUnknownMethod is for an unknown interface, too: systemd-machined answers
// UnknownMethod then, and who falls back to an older method looks for it.
func errUnknownMethod(c *Call) error {
	return machine1.Errorf(machine1.ErrUnknownMethod, "Unknown method %s or interface %s.", c.Member, c.Interface)
}

func errUnknownInterface(iface string) error {
	return machine1.Errorf(machine1.ErrUnknownInterface, "Unknown interface '%s'.", iface)
}

func errUnknownProperty(iface, name string) error {
	return machine1.Errorf(machine1.ErrUnknownProperty, "Unknown interface %s or property %s.", iface, name)
}

func errReadOnly(name string) error {
	return machine1.Errorf(machine1.ErrPropertyReadOnly, "Property '%s' is not writable.", name)
}

func errPropertyType(name, got, want string) error {
	return machine1.Errorf(machine1.ErrInvalidArgs, "Invalid type '%s' for property '%s', expecting '%s'.", got, name, want)
}

func errSignature(m *method, got string) error {
	return machine1.Errorf(machine1.ErrInvalidArgs, "Invalid arguments '%s' to call %s.%s(), expecting '%s'.",
		got, m.iface, m.name, m.inSig)
}

var (
	errOversized  = fmt.Errorf("%w: the arguments are longer than %d bytes", machine1.ErrLimitsExceeded, wire.MaxBody)
	errIncomplete = fmt.Errorf("%w: descriptors got lost on the way", machine1.ErrLimitsExceeded)
	errCrowded    = fmt.Errorf("%w: too many calls are waiting already", machine1.ErrLimitsExceeded)
	errStopped    = errors.New("the service ends")
	errPanicked   = errors.New("internal error")
)

// errEnding is told to those whose calls the end of the service cuts short. Its
// name is what the bus says of one that was killed: clients know that they may
// ask the service that comes next.
var errEnding = fmt.Errorf("the service is being ended: %w", machine1.ErrNoReply)

// badArguments says that a body cannot be decoded although its signature is
// the right one.
func badArguments(err error) error { return blame(machine1.ErrInvalidArgs, err) }

// badResult says that what a handler returned cannot be sent.
func badResult(err error) error {
	return blame(errors.New("cannot send the result"), err)
}

func blame(kind, err error) error {
	if errors.Is(err, wire.ErrLimit) {
		return machine1.Errorf(machine1.ErrLimitsExceeded, "%v", err)
	}
	return fmt.Errorf("%w: %w", kind, err)
}

// errorText makes a valid string of limited length of err's text.
func errorText(err error) string {
	text := strings.ReplaceAll(err.Error(), "\x00", "")
	if len(text) > maxErrorText {
		text = text[:maxErrorText]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
