package busapi

import (
	"reflect"
	"testing"

	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/machine1"
)

// Every handler has the shape that its row promises.
func TestTablesAreWellFormed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		table  *vtable.Interface
		target reflect.Type
	}{
		{&managerInterface, reflect.TypeFor[*API]()},
		{&machineInterface, reflect.TypeFor[machineObject]()},
		{&imageInterface, reflect.TypeFor[imageObject]()},
		{&ownManagerInterface, reflect.TypeFor[*API]()},
		{&ownMachineInterface, reflect.TypeFor[machineObject]()},
		{&logControlInterface, reflect.TypeFor[*API]()},
	} {
		if err := c.table.Check(c.target); err != nil {
			t.Error(err)
		}
	}
}

// A method that is for some only says so in its row, and asks in a goroutine
// of its own: polkit may take minutes.
func TestGuardedMethodsAreSlow(t *testing.T) {
	t.Parallel()
	for _, table := range []*vtable.Interface{&managerInterface, &machineInterface} {
		for _, m := range table.Methods {
			if m.Access != "" && !m.Slow {
				t.Errorf("%s.%s asks polkit and is not slow", table.Name, m.Name)
			}
		}
	}
}

func TestRegistrationIsCheckedInTheReferencesOrder(t *testing.T) {
	t.Parallel()
	id := make([]byte, 16)
	for name, c := range map[string]struct {
		name, class, root string
		id                []byte
		leader            uint32
		ifindices         []int32
		want              string
	}{
		"a name with an underscore": {name: "a_b", id: []byte{1}, class: "host", want: "Invalid machine name"},
		"the host's name":           {name: ".host", want: "Invalid machine name"},
		"an id of one byte":         {name: "a", id: []byte{1}, class: "host", want: "Invalid machine ID parameter"},
		"interface 0":               {name: "a", id: id, class: "host", ifindices: []int32{0}, want: "Invalid network interface index 0"},
		"class host":                {name: "a", id: id, class: "host", leader: 1, want: "Invalid machine class parameter"},
		"PID 1 as leader":           {name: "a", class: "vm", leader: 1, root: "x", want: "Invalid leader PID"},
		"a relative root":           {name: "a", class: "vm", root: "x", want: "Root directory must be empty or an absolute path"},
		"a root with dots":          {name: "a", class: "vm", root: "/a/../b", want: "Root directory must be empty or an absolute path"},
		"everything right":          {name: "a", id: id, class: "container", root: "/a", ifindices: []int32{3}},
		"everything left out":       {name: "a"},
	} {
		_, err := registration(c.name, c.id, "s", c.class, c.leader, c.root, c.ifindices)
		got := ""
		if err != nil {
			got = err.Error()
			if machine1.ErrorName(err) != "org.freedesktop.DBus.Error.InvalidArgs" {
				t.Errorf("%s: the error is a %s", name, machine1.ErrorName(err))
			}
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestNodesAboveTheObjects(t *testing.T) {
	t.Parallel()
	for path, want := range map[string][]string{
		"/":                           {"org"},
		"/org":                        {"freedesktop"},
		"/org/freedesktop":            {"LogControl1", "machine1"},
		"/org/freedesktop/machine1":   {"image", "machine"},
		"/org/freedesktop/machine1/x": nil,
	} {
		if got := childrenOfParent(path); !reflect.DeepEqual(got, want) {
			t.Errorf("below %s there are %q, want %q", path, got, want)
		}
	}
}
