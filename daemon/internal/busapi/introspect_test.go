package busapi

import (
	"encoding/xml"
	"slices"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5/introspect"

	"github.com/machd/machd/pkg/machine1"
)

func TestIntrospectWithoutABus(t *testing.T) {
	t.Parallel()
	list, err := Introspect(t.Context(), "list")
	must(t, err)
	for line := range strings.Lines(list) {
		path, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !ok {
			t.Fatalf("the list has the line %q", line)
		}
		byPath, err := Introspect(t.Context(), path)
		must(t, err)
		byName, err := Introspect(t.Context(), name)
		must(t, err)
		if byPath != byName {
			t.Errorf("%s is not what %s is", name, path)
		}
		var node introspect.Node
		must(t, xml.Unmarshal([]byte(byPath), &node))
		if !slices.ContainsFunc(node.Interfaces, func(i introspect.Interface) bool { return i.Name == name }) {
			t.Errorf("%s is not described at %s", name, path)
		}
	}
	for pattern, want := range map[string]string{
		"/nowhere":               "Object path /nowhere not found",
		"bad":                    "Object path bad not found",
		"org.example.Interface":  "Interface org.example.Interface not found",
		machineNode + "/_2ehost": "Object path /org/freedesktop/machine1/machine/_2ehost not found",
	} {
		if text, err := Introspect(t.Context(), pattern); err == nil || err.Error() != want || text != "" {
			t.Errorf("%s: got %q, %v, want %s", pattern, text, err, want)
		}
	}
}

// An object says of itself what is said without a bus.
func TestIntrospectIsTheSameOverTheBus(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	offline, err := Introspect(t.Context(), string(machine1.ObjectPath))
	must(t, err)
	var online string
	must(t, w.call(t, machine1.ObjectPath, "org.freedesktop.DBus.Introspectable.Introspect", nil, &online))
	if offline != online {
		t.Errorf("without a bus it is\n%s\nover it\n%s", offline, online)
	}
}

// Numbers of members as the reference has them.
func TestEveryMemberOfTheReferenceIsThere(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                         string
		methods, properties, signals int
	}{
		{machine1.ManagerInterface, 42, 3, 2},
		{machine1.MachineInterface, 15, 19, 0},
		{machine1.ImageInterface, 9, 10, 0},
	} {
		text, err := Introspect(t.Context(), c.name)
		must(t, err)
		var node introspect.Node
		must(t, xml.Unmarshal([]byte(text), &node))
		i := node.Interfaces[slices.IndexFunc(node.Interfaces, func(i introspect.Interface) bool { return i.Name == c.name })]
		if len(i.Methods) != c.methods || len(i.Properties) != c.properties || len(i.Signals) != c.signals {
			t.Errorf("%s has %d methods, %d properties, %d signals, want %+v", c.name, len(i.Methods), len(i.Properties), len(i.Signals), c)
		}
	}
}
