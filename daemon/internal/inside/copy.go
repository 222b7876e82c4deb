package inside

import (
	"context"
	"errors"

	"github.com/machd/machd/daemon/internal/proc"
)

// Ownership says who owns copies between the host and a machine.
type Ownership int

const (
	// OwnershipFlat keeps owners where the machine's users are the host's;
	// else everything is made root's of the side it comes to. It is what
	// systemd-machined does.
	OwnershipFlat Ownership = iota
	// OwnershipMapped keeps owners as each side sees them: user 1000 of the
	// one side becomes user 1000 of the other.
	OwnershipMapped
)

// A Copy is what to copy, and how. Both paths are as CheckCopy returns them.
type Copy struct {
	Source, Destination string
	Replace             bool // files that exist are replaced, else kept
	Ownership           Ownership
}

// CheckCopy returns the paths of a copy: an absent destination is the source's
// path. Errors are ErrInvalidArgs.
//
// Reference: machine-dbus.c, bus_machine_method_copy.
func CheckCopy(source, destination string) (string, string, error) {
	return source, destination, errors.New("cannot copy yet")
}

// CopyFrom copies Source of the machine to Destination of the host.
func (g *Guard) CopyFrom(ctx context.Context, leader *proc.PIDFD, c Copy) error {
	return errors.New("cannot copy yet")
}

// CopyTo copies Source of the host to Destination of the machine.
func (g *Guard) CopyTo(ctx context.Context, leader *proc.PIDFD, c Copy) error {
	return errors.New("cannot copy yet")
}
