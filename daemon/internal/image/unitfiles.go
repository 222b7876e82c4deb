package image

import "context"

// UnitFiles are what a service manager reads of machines, by the names of their
// images. What undo returns takes back what was done.
type UnitFiles interface {
	// Rename makes what is there for one machine another one's, or does nothing.
	Rename(ctx context.Context, name, newName string) (undo func() error, err error)
	// Remove removes what is saved of a machine and, if disable says so, that it
	// starts with the host. What cannot be removed stays.
	Remove(ctx context.Context, name string, disable bool) (undo func() error)
}

// noUnitFiles are those of who has none.
type noUnitFiles struct{}

func nothingToUndo() error { return nil }

func (noUnitFiles) Rename(context.Context, string, string) (func() error, error) {
	return nothingToUndo, nil
}
func (noUnitFiles) Remove(context.Context, string, bool) func() error { return nothingToUndo }
