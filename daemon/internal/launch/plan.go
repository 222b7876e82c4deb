// Package launch starts machines as units of PID 1, waits until they can be
// used, and ends them. What a start will do is worked out first, as a Plan,
// which changes nothing.
package launch

import (
	"io/fs"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// A Plan is what a start will do.
type Plan struct {
	Name string // of the machine
	Unit string // that carries it

	// Existing says that Unit is what an administrator set up, an instance of
	// the stock template. It is started as it is, and Properties is empty.
	Existing   bool
	Properties []machine1.Property // of the transient unit, in order

	Clone *CloneImage // made first, undone if the start fails
	Files []File      // written if the options are saved, undone if the start fails

	Boots   bool     // the machine runs an init
	VM      bool     // by systemd-vmspawn
	Notes   []string // what whoever asked should know, a sentence each
	Options machd.StartOptions
}

// CloneImage is an image that is made of another one.
type CloneImage struct{ From, To string }

// A File is one that is written.
type File struct {
	Path    string
	Content []byte
	Mode    fs.FileMode
}
