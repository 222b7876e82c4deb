package vtable_test

import (
	"errors"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/daemon/internal/wire"
	"github.com/machd/machd/pkg/machine1"
)

const properties = "org.freedesktop.DBus.Properties"

func TestPropertiesAreReadAndWritten(t *testing.T) {
	t.Parallel()
	s := serve(t)
	conn := s.bus.Dial()
	get := func(iface, name string) any {
		t.Helper()
		got, err := s.call(t, conn, rootPath, properties+".Get", iface, name)
		if err != nil {
			t.Fatal(err)
		}
		return got[0].(dbus.Variant).Value()
	}
	if got := get(worldName, "Zeta"); got != "z" {
		t.Errorf("got %v", got)
	}
	if diff := cmp.Diff([][]any{{"a", dbus.ObjectPath("/a")}}, get(worldName, "Alpha")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(get(worldName, "Alpha"), get(worldName, "Rows")); diff != "" {
		t.Error(diff)
	}
	if got := get(worldName, "Secret"); got != uint32(42) {
		t.Errorf("a hidden property: got %v", got)
	}
	if _, err := s.call(t, conn, rootPath, properties+".Set", worldName, "Level", dbus.MakeVariant("debug")); err != nil {
		t.Error(err)
	}
	if got := get(worldName, "Level"); got != "debug" {
		t.Errorf("got %v", got)
	}
}

func TestPropertyErrorsHaveStockNames(t *testing.T) {
	t.Parallel()
	s := serve(t)
	conn := s.bus.Dial()
	x := dbus.MakeVariant("x")
	tests := []struct {
		name   string
		path   dbus.ObjectPath
		member string
		in     []any
		want   error
	}{
		{"Get of an unknown interface", rootPath, "Get", []any{"a.b", "Zeta"}, machine1.ErrUnknownProperty},
		{"Get of an unknown property", rootPath, "Get", []any{worldName, "Nil"}, machine1.ErrUnknownProperty},
		{"Get of no interface", rootPath, "Get", []any{"", "Zeta"}, machine1.ErrUnknownProperty},
		{"Get of an interface of another object", rootPath, "Get", []any{thingName, "Name"}, machine1.ErrUnknownProperty},
		{"Get of an unknown object", "/x", "Get", []any{worldName, "Zeta"}, machine1.ErrUnknownObject},
		{"Get without a name", rootPath, "Get", []any{worldName}, machine1.ErrInvalidArgs},
		{"GetAll of an unknown interface", rootPath, "GetAll", []any{"a.b"}, machine1.ErrUnknownInterface},
		{"GetAll of a number", rootPath, "GetAll", []any{uint32(1)}, machine1.ErrInvalidArgs},
		{"Set of an unknown interface", rootPath, "Set", []any{"a.b", "Level", x}, machine1.ErrUnknownProperty},
		{"Set of an unknown property", rootPath, "Set", []any{worldName, "Nil", x}, machine1.ErrUnknownProperty},
		{"Set of a property that cannot be set", rootPath, "Set", []any{worldName, "Zeta", x}, machine1.ErrPropertyReadOnly},
		{"Set to a value of another type", rootPath, "Set", []any{worldName, "Level", dbus.MakeVariant(1.5)}, machine1.ErrInvalidArgs},
		{"Set to a value that is refused", rootPath, "Set", []any{worldName, "Level", dbus.MakeVariant("")}, machine1.ErrInvalidArgs},
		{"Set to no variant", rootPath, "Set", []any{worldName, "Level", "x"}, machine1.ErrInvalidArgs},
		{"an unknown method of Properties", rootPath, "Delete", nil, machine1.ErrUnknownMethod},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := s.call(t, conn, tt.path, properties+"."+tt.member, tt.in...); !errors.Is(err, tt.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// keys returns the keys of the a{sv} that m is, in their order.
func keys(t *testing.T, m *wire.Message) []string {
	t.Helper()
	if m.Signature != "a{sv}" {
		t.Fatalf("got %q, %s", m.Signature, m.ErrorName)
	}
	// A dictionary is a list of pairs, so its order can be read.
	c, v := codecFor[[]machine1.Property](t)
	var d wire.Decoder
	d.Reset(m)
	c.Decode(&d, v)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range v.Interface().([]machine1.Property) {
		names = append(names, p.Name)
	}
	return names
}

func TestGetAllKeepsTheOrderOfTheTables(t *testing.T) {
	t.Parallel()
	s := serve(t)
	p := s.peer(t)
	world := []string{"Zeta", "Alpha", "Level"}
	tests := []struct {
		path  dbus.ObjectPath
		iface string
		want  []string
	}{
		{rootPath, worldName, world},
		{rootPath, "", world},
		{rootPath + "/thing/one", thingName, []string{"Name"}},
		{rootPath + "/thing/one", "", append([]string{"Name"}, world...)},
		{rootPath, properties, nil},
		{rootPath, "org.freedesktop.DBus.Peer", nil},
	}
	for _, tt := range tests {
		h, body := with(t, method("GetAll"), tt.iface)
		h.Path, h.Interface = tt.path, properties
		if diff := cmp.Diff(tt.want, keys(t, p.call(h, body))); diff != "" {
			t.Errorf("%s %q: %s", tt.path, tt.iface, diff)
		}
	}
}

func TestAGetterThatFailsFailsTheCall(t *testing.T) {
	t.Parallel()
	s := serve(t)
	_, err := s.call(t, s.bus.Dial(), rootPath+"/thing/one", properties+".Get", thingName, "Broken")
	if err == nil || err.Error() != "broken" {
		t.Errorf("got %v", err)
	}
}
