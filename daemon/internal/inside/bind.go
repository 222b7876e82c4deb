package inside

import (
	"context"
	"errors"

	"github.com/machd/machd/daemon/internal/proc"
)

// A Bind is a file or directory of the host that is to appear in a machine.
type Bind struct {
	Source      string // on the host, absolute and normalized
	Destination string // in the machine, absolute and normalized
	ReadOnly    bool
	MakeDir     bool // make the destination and what leads to it
	IDMapped    bool // owners as they are on the host; else a machine with ids of its own is refused
}

// CheckBind returns both paths of a bind, the destination being the source if
// left out.
func CheckBind(source, destination string) (string, string, error) {
	return source, destination, errors.New("not yet")
}

// Bind shows a file or directory of the host in the machine called name.
func (g *Guard) Bind(ctx context.Context, leader *proc.PIDFD, name string, b Bind) error {
	return errors.New("not yet")
}

// Unbind takes away what Bind has put at destination.
func (g *Guard) Unbind(ctx context.Context, leader *proc.PIDFD, destination string) error {
	return errors.New("not yet")
}
