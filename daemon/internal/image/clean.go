package image

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

// A CleanMode says which images Clean removes.
type CleanMode string

// The modes, as on the bus.
const (
	CleanAll    CleanMode = "all"
	CleanHidden CleanMode = "hidden"
)

// Removed is an image that Clean has removed, and what it alone took on disk
// before, in bytes.
type Removed struct {
	Name  string
	Usage uint64
}

// Clean removes images, with their settings, and tells done of each. Those that
// are in use stay; any other failure ends it.
//
// Reference: machined-dbus.c, method_clean_pool.
func (s *Store) Clean(ctx context.Context, mode CleanMode, done func(Removed)) error {
	if mode != CleanAll && mode != CleanHidden {
		return machine1.Errorf(machine1.ErrInvalidArgs, "Unknown mode")
	}
	images, err := s.List(ctx)
	if err != nil {
		return err
	}
	for _, i := range images {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if i.Vendor() || i.Host() || mode == CleanHidden && (!i.Hidden() || isSnapshot(i)) {
			continue
		}
		switch err := s.Remove(ctx, i, RemoveSettings); {
		case errors.Is(err, unix.EBUSY):
		case errors.Is(err, unix.ENOENT): // it went with another that it belonged to
		case err != nil:
			return machine1.Errorf(err, "Failed to remove image '%s': %v", i.Name, err)
		default:
			done(Removed{i.Name, i.UsageExclusive})
		}
	}
	return nil
}
