package auth

import (
	"context"
	"slices"

	"github.com/machd/machd/pkg/machine1"
)

// Private answers for a user's own daemon, where polkit is not asked: only
// the user himself and root can reach it.
type Private struct {
	// Own are the actions that not even root may do there.
	Own []string
}

// Check is Authority's, without a question.
//
// Reference: machined-dbus.c and machine-varlink.c, where the runtime scope is
// the user's [259].
func (p Private) Check(_ context.Context, c Caller, r Request) (Verdict, error) {
	if slices.Contains(p.Own, r.Action) && !c.Privileged() {
		return Verdict{}, machine1.Errorf(machine1.ErrAccessDenied,
			"Other users may not register machines with us, sorry.")
	}
	return Verdict{}, nil
}
