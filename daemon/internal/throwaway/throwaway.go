// Package throwaway makes the root file systems of machines that leave nothing
// behind: a snapshot of an image where the file system has snapshots, otherwise
// an overlay above it, which takes no copy either.
//
// The unit of such a machine does it all. What it executes is this program,
// which makes the root in a mount namespace of its own and then becomes
// systemd-nspawn there; when the machine is over, however it ended, PID 1 has
// the unit execute this program again, which removes what was written. The
// overlay needs no removing: it ends with the namespace, and so with the last
// process of the machine. No daemon has to live for any of this.
//
// The package knows files and mounts; it knows no units and no images.
package throwaway

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/machd/machd/pkg/machd"
)

// prefix begins the name of the directory of every throw-away root. Nobody takes
// what begins so for an image, and what is left goes at the next boot at the
// latest.
//
// Reference: discover-image.c, image_name_is_valid; tmpfiles.d/systemd-nspawn.conf.
const prefix = machd.ThrowawayPrefix

// discardPrefix begins names of which package image says that it removes them.
const discardPrefix = ".#machd-"

// IsDir reports whether a directory in the pool called name is one of a
// throw-away root, and of which machine.
func IsDir(name string) (machine string, ok bool) { return strings.CutPrefix(name, prefix) }

// A Place is where a machine's throw-away root is.
type Place struct {
	Pool    string // the directory of images
	Machine string // its name, which no other machine has meanwhile
}

// Dir is all of it, with what the machine has written.
func (p Place) Dir() string { return filepath.Join(p.Pool, prefix+p.Machine) }

// Root is the machine's root directory. Only the machine's unit sees what is
// mounted there.
func (p Place) Root() string { return filepath.Join(p.Dir(), "root") }

// Image returns the path of what the root is made of, while it is there.
func (p Place) Image() (string, error) { return os.Readlink(filepath.Join(p.Dir(), imageLink)) }

// Arguments that make a program run Make and Remove.
const (
	MakeArgument   = machd.MakeThrowaway
	RemoveArgument = "--remove-throwaway"
)

// MakeCommand returns the command that makes a throw-away root of the tree image
// and then becomes argv, which is to use p.Root. program is ours.
func (p Place) MakeCommand(program, image string, users Users, argv []string) []string {
	return append([]string{program, MakeArgument, p.Pool, p.Machine, image, users.String()}, argv...)
}

// RemoveCommand returns the command that removes what p holds.
func (p Place) RemoveCommand(program string) []string {
	return []string{program, RemoveArgument, p.Pool, p.Machine}
}

// program is this one, whatever it is called by now.
const program = "/proc/self/exe"

// Directories in a Place. Where the root is a snapshot, there is only the root.
const (
	lowerDir = "lower"  // where the image is mounted, with the machine's owners
	storeDir = "store"  // what holds the two that follow
	upperDir = "/upper" // what the machine writes
	workDir  = "/work"  // the overlay's own
	rootDir  = "root"

	imageLink = "image" // to what the root is made of
)

// private is the mode of what only root may look into.
const private = os.FileMode(0o700)
