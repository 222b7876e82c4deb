package machine1

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// Errors that callers branch on. The daemon maps them to the names in
// errorNames, the client maps the names back, so errors.Is holds on both sides
// of the bus.
var (
	ErrNoSuchMachine       = errors.New("no such machine")
	ErrNoSuchImage         = errors.New("no such image")
	ErrNoMachineForPID     = errors.New("process belongs to no machine")
	ErrMachineExists       = errors.New("machine already exists")
	ErrNoPrivateNetworking = errors.New("machine does not use private networking")
	ErrNoSuchUserMapping   = errors.New("no such user mapping")
	ErrNoSuchGroupMapping  = errors.New("no such group mapping")
	ErrJobFailed           = errors.New("job failed")

	ErrNoSuchTransfer     = errors.New("no such transfer")
	ErrTransferInProgress = errors.New("transfer already in progress")
	ErrTransferCanceled   = errors.New("transfer was canceled") // never an answer

	ErrAccessDenied         = errors.New("access denied")
	ErrInteractionRequired  = errors.New("interactive authentication required")
	ErrInvalidArgs          = errors.New("invalid arguments")
	ErrNotSupported         = errors.New("not supported")
	ErrFileNotFound         = errors.New("file not found")
	ErrLimitsExceeded       = errors.New("limits exceeded")
	ErrTimeout              = errors.New("timed out")
	ErrServiceUnknown       = errors.New("service is not running and cannot be started")
	ErrNoReply              = errors.New("no reply")
	ErrDisconnected         = errors.New("disconnected")
	ErrUnknownMethod        = errors.New("unknown method")
	ErrUnknownObject        = errors.New("unknown object")
	ErrUnknownInterface     = errors.New("unknown interface")
	ErrUnknownProperty      = errors.New("unknown property")
	ErrPropertyReadOnly     = errors.New("property is read-only")
	ErrNoSuchUnit           = errors.New("no such unit")
	ErrUnitExists           = errors.New("unit already exists")
	ErrUnixProcessIDUnknown = errors.New("no such process")

	// ErrEnding is machd's own: it begins nothing new while it ends, and has done
	// nothing of what it was asked. The daemon that comes next can be asked. It is
	// a kind of ErrDisconnected.
	ErrEnding = fmt.Errorf("the machine manager is about to end: %w", ErrDisconnected)
)

// errorNames pairs Go errors with D-Bus error names. The first row that
// matches wins in either direction, so the name a client branches on stands
// before the generic one.
var errorNames = []struct {
	err  error
	name string
}{
	{ErrNoSuchMachine, "org.freedesktop.machine1.NoSuchMachine"},
	{ErrNoSuchImage, "org.freedesktop.machine1.NoSuchImage"},
	{ErrNoMachineForPID, "org.freedesktop.machine1.NoMachineForPID"},
	{ErrMachineExists, "org.freedesktop.machine1.MachineExists"},
	{ErrNoPrivateNetworking, "org.freedesktop.machine1.NoPrivateNetworking"},
	{ErrNoSuchUserMapping, "org.freedesktop.machine1.NoSuchUserMapping"},
	{ErrNoSuchGroupMapping, "org.freedesktop.machine1.NoSuchGroupMapping"},
	{ErrJobFailed, "org.freedesktop.systemd1.JobFailed"},
	{ErrNoSuchTransfer, "org.freedesktop.import1.NoSuchTransfer"},
	{ErrTransferInProgress, "org.freedesktop.import1.TransferInProgress"},
	{ErrNoSuchUnit, "org.freedesktop.systemd1.NoSuchUnit"},
	{ErrUnitExists, "org.freedesktop.systemd1.UnitExists"},

	{ErrAccessDenied, "org.freedesktop.DBus.Error.AccessDenied"},
	{ErrInteractionRequired, "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"},
	{ErrInvalidArgs, "org.freedesktop.DBus.Error.InvalidArgs"},
	{ErrNotSupported, "org.freedesktop.DBus.Error.NotSupported"},
	{ErrFileNotFound, "org.freedesktop.DBus.Error.FileNotFound"},
	{ErrLimitsExceeded, "org.freedesktop.DBus.Error.LimitsExceeded"},
	{ErrTimeout, "org.freedesktop.DBus.Error.Timeout"},
	{ErrServiceUnknown, "org.freedesktop.DBus.Error.ServiceUnknown"},
	{ErrServiceUnknown, "org.freedesktop.DBus.Error.NameHasNoOwner"},
	{ErrNoReply, "org.freedesktop.DBus.Error.NoReply"},
	{ErrEnding, "org.machd.Error.Ending"},
	{ErrDisconnected, "org.freedesktop.DBus.Error.Disconnected"},
	{ErrDisconnected, "org.machd.Error.Ending"},
	{ErrUnknownMethod, "org.freedesktop.DBus.Error.UnknownMethod"},
	{ErrUnknownObject, "org.freedesktop.DBus.Error.UnknownObject"},
	{ErrUnknownInterface, "org.freedesktop.DBus.Error.UnknownInterface"},
	{ErrUnknownProperty, "org.freedesktop.DBus.Error.UnknownProperty"},
	{ErrPropertyReadOnly, "org.freedesktop.DBus.Error.PropertyReadOnly"},
	{ErrUnixProcessIDUnknown, "org.freedesktop.DBus.Error.UnixProcessIdUnknown"},

	// What sd-bus makes of an errno. Reference: bus-error.c, the standard map.
	{syscall.ENOMEM, "org.freedesktop.DBus.Error.NoMemory"},
	{syscall.EPERM, "org.freedesktop.DBus.Error.AccessDenied"},
	{syscall.EACCES, "org.freedesktop.DBus.Error.AccessDenied"},
	{syscall.EINVAL, "org.freedesktop.DBus.Error.InvalidArgs"},
	{syscall.ESRCH, "org.freedesktop.DBus.Error.UnixProcessIdUnknown"},
	{syscall.ENOENT, "org.freedesktop.DBus.Error.FileNotFound"},
	{syscall.EEXIST, "org.freedesktop.DBus.Error.FileExists"},
	{syscall.ETIMEDOUT, "org.freedesktop.DBus.Error.Timeout"},
	{syscall.ETIME, "org.freedesktop.DBus.Error.Timeout"},
	{syscall.EIO, "org.freedesktop.DBus.Error.IOError"},
	{syscall.ENETRESET, "org.freedesktop.DBus.Error.Disconnected"},
	{syscall.ECONNABORTED, "org.freedesktop.DBus.Error.Disconnected"},
	{syscall.ECONNRESET, "org.freedesktop.DBus.Error.Disconnected"},
	{syscall.EOPNOTSUPP, "org.freedesktop.DBus.Error.NotSupported"},
	{syscall.EADDRNOTAVAIL, "org.freedesktop.DBus.Error.BadAddress"},
	{syscall.EADDRINUSE, "org.freedesktop.DBus.Error.AddressInUse"},
	{syscall.ENOBUFS, "org.freedesktop.DBus.Error.LimitsExceeded"},
	{syscall.EBADMSG, "org.freedesktop.DBus.Error.InconsistentMessage"},
}

const (
	nameFailed    = "org.freedesktop.DBus.Error.Failed"
	systemErrorNS = "System.Error."
)

// A RemoteError is an error that came over the bus. Its text is the sender's;
// errors.Is finds the error of this package that its name stands for.
type RemoteError struct {
	Name string // D-Bus error name
	Text string // may be empty
}

func (e *RemoteError) Error() string {
	if e.Text == "" {
		return e.Name
	}
	return e.Text
}

// Is reports whether target is an error that e's name stands for.
func (e *RemoteError) Is(target error) bool {
	for _, row := range errorNames {
		if row.name == e.Name && row.err == target {
			return true
		}
	}
	if rest, ok := strings.CutPrefix(e.Name, systemErrorNS); ok {
		if errno, ok := target.(syscall.Errno); ok {
			return unix.ErrnoName(errno) == rest
		}
	}
	return false
}

// ErrorName returns the D-Bus error name of err. An error that came over the
// bus keeps its own name.
func ErrorName(err error) string {
	var remote *RemoteError
	if errors.As(err, &remote) {
		return remote.Name
	}
	for _, row := range errorNames {
		if errors.Is(err, row.err) {
			return row.name
		}
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		if name := unix.ErrnoName(errno); name != "" {
			return systemErrorNS + name
		}
	}
	return nameFailed
}

// FromBus turns an error of a godbus call into a RemoteError, and leaves every
// other error as it is.
func FromBus(err error) error {
	var value dbus.Error
	var pointer *dbus.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &value):
		return remoteError(value)
	case errors.As(err, &pointer):
		return remoteError(*pointer)
	}
	return err
}

func remoteError(e dbus.Error) error {
	remote := &RemoteError{Name: e.Name}
	if len(e.Body) > 0 {
		remote.Text, _ = e.Body[0].(string)
	}
	return remote
}

// A textError is an error whose text goes over the bus exactly as it is and
// whose kind decides the name.
type textError struct {
	kind error
	text string
}

func (e *textError) Error() string { return e.text }
func (e *textError) Unwrap() error { return e.kind }

// Errorf returns an error of the given kind whose text is exactly the
// formatted one. It is for texts that stock clients show or parse.
func Errorf(kind error, format string, args ...any) error {
	return &textError{kind, fmt.Sprintf(format, args...)}
}
