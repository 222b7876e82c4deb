package busapi

import (
	"strings"

	"github.com/godbus/dbus/v5"
)

// Waits reports whether finding the object at path takes more than a look at
// the View: images are on disk, and whose machine "self" is the bus must say.
func (a *API) Waits(path dbus.ObjectPath) bool {
	p := string(path)
	return p == imageNode || strings.HasPrefix(p, imageNode+"/") || p == machineNode+"/"+selfLabel
}
