package access

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/machd/machd/pkg/machd"
)

// StartDetails returns the details of a question about a start: what is run is
// "image", an image's name or a path. Rules can tell
// a plain start, which runs what an administrator has set up, from one with
// options by "options", their names.
func StartDetails(name string, o machd.StartOptions) map[string]string {
	o.Wait, o.WaitTimeout = "", 0
	return map[string]string{
		"machine":      name,
		"image":        cmp.Or(o.Image, o.Directory, o.Disk, o.From, name),
		"options":      strings.Join(slices.Sorted(maps.Keys(o.Variants())), " "),
		"command_line": strings.Join(o.Command, " "),
	}
}
