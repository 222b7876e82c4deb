// Package imagemaker makes images: out of a distribution's packages, of archives
// and disk images, of what registries have, and of other images.
//
// Each is made by a unit of its own, machd-create-NAME.service, which executes
// this program: programs of others run for minutes as root there, mount things
// and start what they like, in a mount namespace that ends with them. What they
// make has no name until it is whole. The unit ends when the daemon does, or
// whoever asked for it goes, and removes what was made by then, however it ended.
//
// The package knows neither the bus nor who may ask.
package imagemaker

import (
	"encoding/json"
	"fmt"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// A Wish is an image that somebody wants.
type Wish struct {
	Name    string
	Source  machd.Source
	Options machd.CreateOptions
}

// A Made is what came of it.
type Made struct {
	Usage uint64 // bytes on disk, image.Unknown if that is not known
	Note  string // what its user should know, or ""
}

// Arguments that make this program a unit's.
const (
	BuildArgument  = "--make-image"
	RemoveArgument = "--remove-unfinished-images"
	UnpackArgument = "--unpack-layer"
)

// program is this one, whatever it is called by now.
const program = "/proc/self/exe"

// unitName is the name of the unit that makes the image called name.
func unitName(name string) string { return "machd-create-" + machine1.EscapeUnit(name) + ".service" }

// A report is what a builder tells the daemon, a line of JSON each. The last one
// has Made or Failure.
type report struct {
	Line    string   `json:"line,omitempty"` // that a program has printed
	Made    *Made    `json:"made,omitempty"`
	Failure *failure `json:"failure,omitempty"`
}

// A failure is an error that another process has had.
type failure struct {
	Name string `json:"name"` // on the bus
	Text string `json:"text"`
}

func failureOf(err error) *failure { return &failure{machine1.ErrorName(err), err.Error()} }

func (f *failure) err() error { return &machine1.RemoteError{Name: f.Name, Text: f.Text} }

// maxOrder bounds what a builder is told, in bytes.
const maxOrder = 1 << 20

// encode returns what a builder is told.
func (w Wish) encode() ([]byte, error) {
	text, err := json.Marshal(w)
	if err == nil && len(text) >= maxOrder {
		err = machine1.Errorf(machine1.ErrLimitsExceeded, "The options take %d bytes, which is too much", len(text))
	}
	if err != nil {
		return nil, fmt.Errorf("cannot tell what to make: %w", err)
	}
	return append(text, '\n'), nil
}
