package auth

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
)

// A Request is what a Caller wants to do.
type Request struct {
	Action  string // polkit action id
	Details map[string]string
	// Interactive says that the user may be asked for a password.
	Interactive bool
	// Owner is the user who may without being asked about, nil if there is none.
	Owner *uint32
}

// A Verdict is how a granted request was granted.
type Verdict struct {
	// Admin says that somebody proved to be an administrator for it.
	Admin bool
}

// Check returns how c was granted r, or an error: machine1.ErrAccessDenied,
// machine1.ErrInteractionRequired if asking the user could help, or what
// polkit itself failed with. It waits as long as the user needs; it gives up
// when ctx ends or the caller leaves the bus, and takes the question back.
//
// Reference: bus-polkit.c, bus_verify_polkit_async_full and
// async_polkit_read_reply.
func (a *Authority) Check(ctx context.Context, c Caller, r Request) (Verdict, error) {
	if c.Privileged() || r.Owner != nil && c.UID == *r.Owner {
		return Verdict{}, nil
	}
	ctx, done, err := a.whileCalling(ctx, c)
	if err != nil {
		return Verdict{}, err
	}
	defer done()

	answer, err := a.ask(ctx, c, r)
	switch {
	case err != nil && ctx.Err() != nil:
		return Verdict{}, fmt.Errorf("the question about %s was taken back: %w", r.Action, context.Cause(ctx))
	case err != nil:
		return Verdict{}, failure(err, r)
	case answer.Authorized:
		how := answer.Details["polkit.result"]
		return Verdict{Admin: how == "auth_admin" || how == "auth_admin_keep"}, nil
	}
	return Verdict{}, refusal(answer, c, r)
}

var polkit = bus.Target{Name: "org.freedesktop.PolicyKit1", Path: "/org/freedesktop/PolicyKit1/Authority"}

const (
	polkitInterface = "org.freedesktop.PolicyKit1.Authority"

	allowUserInteraction = 1 // flag of CheckAuthorization
)

// subject and result are polkit's (sa{sv}) and (bba{ss}).
type subject struct {
	Kind    string
	Details map[string]dbus.Variant
}

type result struct {
	Authorized bool
	Challenge  bool
	Details    map[string]string
}

// questions numbers what is asked, so that it can be taken back.
var questions atomic.Uint64

func (a *Authority) ask(ctx context.Context, c Caller, r Request) (answer result, err error) {
	cancellation := "machd-" + strconv.FormatUint(questions.Add(1), 10)
	flags := uint32(0)
	if r.Interactive {
		flags = allowUserInteraction
	}
	details := r.Details
	if details == nil {
		details = map[string]string{}
	}
	var call *dbus.Call
	err = c.withSubject(func(s subject) (err error) {
		call, err = bus.Go(ctx, a.conn, polkit, polkitInterface+".CheckAuthorization", false,
			[]any{s, r.Action, details, flags, cancellation})
		return err
	})
	if err != nil {
		return result{}, err
	}
	err = bus.Wait(ctx, call, &answer)
	if err != nil && ctx.Err() != nil {
		// Closes the password prompt that nobody waits for any more.
		a.send(ctx, polkit, polkitInterface+".CancelCheckAuthorization", cancellation)
	}
	return answer, err
}

var errNoProcess = errors.New("the caller's process is not known")

// withSubject calls fn with what polkit knows c by. It is valid only inside fn.
func (c Caller) withSubject(fn func(subject) error) error {
	if c.sender != "" {
		return fn(subject{"system-bus-name", map[string]dbus.Variant{"name": dbus.MakeVariant(c.sender)}})
	}
	if c.PIDFD == nil {
		return errNoProcess
	}
	return c.PIDFD.WithFD(func(fd int) error {
		return fn(subject{"unix-process", map[string]dbus.Variant{
			"pidfd": dbus.MakeVariant(dbus.UnixFD(fd)),
			"uid":   dbus.MakeVariant(int32(c.UID)),
		}})
	})
}

// refusal says why polkit does not grant r, and what would help.
func refusal(answer result, c Caller, r Request) error {
	switch {
	case answer.Challenge && r.Interactive:
		return machine1.Errorf(machine1.ErrInteractionRequired,
			"interactive authentication required: no polkit agent asks user %d for a password; start one, such as pkttyagent, or do this as root (%s)",
			c.UID, r.Action)
	case answer.Challenge:
		return machine1.Errorf(machine1.ErrInteractionRequired,
			"interactive authentication required: the client does not let polkit ask for a password; allow it to, or do this as root (%s)",
			r.Action)
	case answer.Details["polkit.dismissed"] != "":
		return machine1.Errorf(machine1.ErrAccessDenied,
			"access denied: the question for a password was dismissed (%s)", r.Action)
	}
	return machine1.Errorf(machine1.ErrAccessDenied,
		"access denied: polkit does not allow user %d to do this; do it as root, or allow it by a polkit rule (%s)",
		c.UID, r.Action)
}

// failure says what an error means for the caller. What polkit fails with in
// any other way is forwarded as it is.
func failure(err error, r Request) error {
	switch machine1.ErrorName(err) {
	case "org.freedesktop.PolicyKit1.Error.Failed",
		"org.freedesktop.PolicyKit1.Error.Cancelled",
		"org.freedesktop.PolicyKit1.Error.NotAuthorized":
		return machine1.Errorf(machine1.ErrAccessDenied, "access denied: polkit says: %v (%s)", err, r.Action)
	}
	if errors.Is(err, errNoProcess) {
		return machine1.Errorf(machine1.ErrAccessDenied,
			"access denied: %v, and polkit has to know it, so only root may do this (%s)", err, r.Action)
	}
	if errors.Is(err, machine1.ErrServiceUnknown) || isStartFailure(err) {
		return machine1.Errorf(machine1.ErrAccessDenied,
			"access denied: polkit is not running, so only root may do this (%s)", r.Action)
	}
	return err
}

// isStartFailure reports whether the bus tried to start polkit in vain.
func isStartFailure(err error) bool {
	switch machine1.ErrorName(err) {
	case "org.freedesktop.systemd1.NoSuchUnit",
		"org.freedesktop.systemd1.UnitMasked",
		"org.freedesktop.systemd1.LoadFailed",
		"org.freedesktop.DBus.Error.Spawn.ServiceNotFound",
		"org.freedesktop.DBus.Error.Spawn.ExecFailed",
		"org.freedesktop.DBus.Error.Spawn.ChildExited":
		return true
	}
	return false
}
