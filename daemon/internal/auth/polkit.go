package auth

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

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

var polkit = bus.Target{Name: "org.freedesktop.PolicyKit1", Path: "/org/freedesktop/PolicyKit1/Authority"}

const (
	polkitInterface = "org.freedesktop.PolicyKit1.Authority"

	allowUserInteraction = 1 // flag of CheckAuthorization

	// cancelTimeout is how long polkit may take to acknowledge that a question
	// is no longer of interest.
	cancelTimeout = 5 * time.Second
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

// Check returns how c was granted r, or an error: machine1.ErrAccessDenied,
// machine1.ErrInteractionRequired if asking the user could help, or what
// polkit itself failed with. It waits as long as the user needs; it gives up
// when ctx ends or the caller leaves the bus, and takes the question back.
//
// Reference: bus-polkit.c, bus_verify_polkit_async_full.
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
	case err != nil && context.Cause(ctx) != nil:
		return Verdict{}, fmt.Errorf("question about %s was taken back: %w", r.Action, context.Cause(ctx))
	case err != nil:
		return Verdict{}, polkitFailure(err, r.Action)
	case answer.Authorized:
		how := answer.Details["polkit.result"]
		return Verdict{Admin: how == "auth_admin" || how == "auth_admin_keep"}, nil
	case answer.Challenge:
		return Verdict{}, machine1.Errorf(machine1.ErrInteractionRequired,
			"Interactive authentication required for %s", r.Action)
	}
	return Verdict{}, machine1.Errorf(machine1.ErrAccessDenied, "Access denied: polkit does not allow %s", r.Action)
}

// whileCalling returns a context that lasts as long as c is there.
func (a *Authority) whileCalling(ctx context.Context, c Caller) (context.Context, context.CancelFunc, error) {
	if c.sender == "" {
		return ctx, func() {}, nil
	}
	return a.leaves(ctx, c.sender)
}

var questions atomic.Uint64

func (a *Authority) ask(ctx context.Context, c Caller, r Request) (result, error) {
	cancellation := "machd-" + strconv.FormatUint(questions.Add(1), 10)
	flags := uint32(0)
	if r.Interactive {
		flags = allowUserInteraction
	}
	details := r.Details
	if details == nil {
		details = map[string]string{}
	}
	var answer result
	err := c.withSubject(func(s subject) error {
		return bus.Call(ctx, a.conn, polkit, polkitInterface+".CheckAuthorization", false,
			[]any{s, r.Action, details, flags, cancellation}, &answer)
	})
	if err != nil && ctx.Err() != nil {
		a.takeBack(ctx, cancellation)
	}
	return answer, err
}

// takeBack closes the password prompt that nobody waits for any more. The
// context that ended cannot be the one to do it with.
func (a *Authority) takeBack(ctx context.Context, cancellation string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
	defer cancel()
	err := bus.Call(ctx, a.conn, polkit, polkitInterface+".CancelCheckAuthorization", false, []any{cancellation})
	if err != nil {
		a.log.Debug("cannot take a polkit question back", "error", err)
	}
}

// withSubject calls fn with what polkit knows c by.
func (c Caller) withSubject(fn func(subject) error) error {
	if c.sender != "" {
		return fn(subject{"system-bus-name", map[string]dbus.Variant{"name": dbus.MakeVariant(c.sender)}})
	}
	return c.PIDFD.WithFD(func(fd int) error {
		return fn(subject{"unix-process", map[string]dbus.Variant{
			"pidfd": dbus.MakeVariant(dbus.UnixFD(fd)),
			"uid":   dbus.MakeVariant(int32(c.UID)),
		}})
	})
}

// polkitFailure says what an error of polkit means for the caller.
func polkitFailure(err error, action string) error {
	switch machine1.ErrorName(err) {
	case "org.freedesktop.PolicyKit1.Error.Failed",
		"org.freedesktop.PolicyKit1.Error.Cancelled",
		"org.freedesktop.PolicyKit1.Error.NotAuthorized":
		return machine1.Errorf(machine1.ErrAccessDenied, "Access denied: polkit does not allow %s: %v", action, err)
	}
	if errors.Is(err, machine1.ErrServiceUnknown) || isStartFailure(err) {
		return machine1.Errorf(machine1.ErrAccessDenied,
			"Access denied: polkit is not running, so only root is allowed %s", action)
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
		"org.freedesktop.DBus.Error.Spawn.ChildExited",
		"org.freedesktop.DBus.Error.NameHasNoOwner":
		return true
	}
	return false
}
