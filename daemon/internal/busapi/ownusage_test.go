package busapi

import (
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// Everybody may ask. These machines' processes are not in the cgroups that they
// should be in, and of such there is nothing to tell.
func TestListUsageIsOpenToEverybody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.polkit.say(machine1.ErrAccessDenied)
	var machines map[string]map[string]dbus.Variant
	must(t, w.call(t, machine1.ObjectPath, machd.ManagerInterface+".ListUsage", nil, &machines))
	if len(machines) > 0 {
		t.Errorf("%v", machines)
	}
	if asked := w.polkit.take(); len(asked) > 0 {
		t.Errorf("polkit was asked %v", asked)
	}
}
