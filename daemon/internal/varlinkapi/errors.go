package varlinkapi

import (
	"context"
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/varlink"
	"github.com/machd/machd/pkg/machine1"
)

const (
	machineErrors = "io.systemd.Machine."
	imageErrors   = "io.systemd.MachineImage."
)

// Errors that handlers name themselves: they have no name on D-Bus, or another
// one in another interface.
var (
	errNoSuchMachine    = &varlink.Error{Name: machineErrors + "NoSuchMachine"}
	errNotAvailable     = &varlink.Error{Name: machineErrors + "NotAvailable"}
	errNotSupported     = &varlink.Error{Name: machineErrors + "NotSupported"}
	errNoOSRelease      = &varlink.Error{Name: machineErrors + "NoOSReleaseInformation"}
	errNoUIDShift       = &varlink.Error{Name: machineErrors + "NoUIDShift"}
	errNoIPC            = &varlink.Error{Name: machineErrors + "NoIPC"}
	errNoSuchUser       = &varlink.Error{Name: machineErrors + "NoSuchUser"}
	errNoSuchGroup      = &varlink.Error{Name: machineErrors + "NoSuchGroup"}
	errUserInHostRange  = &varlink.Error{Name: machineErrors + "UserInHostRange"}
	errGroupInHostRange = &varlink.Error{Name: machineErrors + "GroupInHostRange"}
	errTooManyCopies    = &varlink.Error{Name: machineErrors + "TooManyOperations"}

	errNoSuchImage       = &varlink.Error{Name: imageErrors + "NoSuchImage"}
	errImageNotSupported = &varlink.Error{Name: imageErrors + "NotSupported"}
	errTooManyOperations = &varlink.Error{Name: imageErrors + "TooManyOperations"}
)

// errorNames pairs Go errors with Varlink errors. The first row that matches
// wins.
var errorNames = []struct {
	err   error
	error *varlink.Error
}{
	{machine1.ErrNoSuchMachine, errNoSuchMachine},
	{machine1.ErrNoSuchImage, errNoSuchImage},
	{machine1.ErrMachineExists, &varlink.Error{Name: machineErrors + "MachineExists"}},
	{machine1.ErrNoPrivateNetworking, &varlink.Error{Name: machineErrors + "NoPrivateNetworking"}},
	{machine1.ErrInteractionRequired, &varlink.Error{Name: "io.systemd.InteractiveAuthenticationRequired"}},
	{machine1.ErrAccessDenied, varlink.ErrPermissionDenied},
}

// errnos are what stands for errors that have no Varlink name.
//
// Reference: bus-error.c, the standard map, and bus-common-errors.c.
var errnos = []struct {
	err   error
	errno unix.Errno
}{
	{machine1.ErrInvalidArgs, unix.EINVAL},
	{machine1.ErrNotSupported, unix.EOPNOTSUPP},
	{machine1.ErrFileNotFound, unix.ENOENT},
	{machine1.ErrLimitsExceeded, unix.ENOBUFS},
	{machine1.ErrTimeout, unix.ETIMEDOUT},
	{machine1.ErrNoReply, unix.ETIMEDOUT},
	{context.DeadlineExceeded, unix.ETIMEDOUT},
	{context.Canceled, unix.ECANCELED},
	{machine1.ErrServiceUnknown, unix.EHOSTUNREACH},
	{machine1.ErrDisconnected, unix.ECONNRESET},
	{machine1.ErrUnixProcessIDUnknown, unix.ESRCH},
	{machine1.ErrNoSuchUnit, unix.ENOENT},
	{machine1.ErrUnitExists, unix.EEXIST},
}

// systemError is what is left of an error for which there is no name.
type systemError struct {
	Origin    string `json:"origin"`
	Errno     int    `json:"errno"`
	ErrnoName string `json:"errnoName"`
}

func errorOf(err error) *varlink.Error {
	if named := named(err); named != nil {
		return named
	}
	return &varlink.Error{Name: "io.systemd.System", Parameters: systemErrorOf(err)}
}

func systemErrorOf(err error) systemError {
	errno := errnoOf(err)
	return systemError{"linux", int(errno), nameOf(errno)}
}

// named returns the error whose name says all that err does, nil if there is
// none.
func named(err error) *varlink.Error {
	for _, row := range errorNames {
		if errors.Is(err, row.err) {
			return row.error
		}
	}
	return nil
}

// failed is what an error of our own interface is that has no name: systemd's
// error for that, with a reason.
var failed = varlink.ErrorType{
	Name: "Failed", Doc: "It was not done",
	Fields: varlink.Fields{
		{Name: "reason", Type: varlink.String},
		{Name: "origin", Doc: "As of io.systemd.System", Type: varlink.String},
		{Name: "errno", Type: varlink.Int},
		{Name: "errnoName", Type: varlink.String},
	},
}

type failure struct {
	Reason string `json:"reason"`
	systemError
}

// withReasons has methods of an interface of ours tell reasons, where systemd's
// tell an errno alone.
func withReasons(of string, methods []varlink.Method[*API]) []varlink.Method[*API] {
	methods = slices.Clone(methods)
	for i := range methods {
		do := methods[i].Func
		methods[i].Func = func(ctx context.Context, a *API, c *varlink.Call) (any, error) {
			answer, err := do(ctx, a, c)
			var own *varlink.Error
			if err == nil || errors.As(err, &own) || named(err) != nil {
				return answer, err
			}
			return nil, &varlink.Error{Name: of + "." + failed.Name, Parameters: failure{err.Error(), systemErrorOf(err)}}
		}
	}
	return methods
}

// unsupported is err, but as name if it says that something is not supported,
// be it by us or by the kernel.
func unsupported(err error, name *varlink.Error) error {
	if errors.Is(err, machine1.ErrNotSupported) || errors.Is(err, unix.EOPNOTSUPP) {
		return name
	}
	return err
}

func errnoOf(err error) unix.Errno {
	for _, row := range errnos {
		if errors.Is(err, row.err) {
			return row.errno
		}
	}
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	// An error that came over the bus is the errno its name stands for.
	for errno := unix.Errno(1); errno <= lastErrno; errno++ {
		if errors.Is(err, errno) {
			return errno
		}
	}
	return unix.EIO
}

// lastErrno is Linux's last error number, EHWPOISON.
const lastErrno = 133

// nameOf prefers the name of 95 that systemd uses.
func nameOf(errno unix.Errno) string {
	if errno == unix.EOPNOTSUPP {
		return "EOPNOTSUPP"
	}
	return unix.ErrnoName(errno)
}
