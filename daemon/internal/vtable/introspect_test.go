package vtable_test

import (
	"encoding/xml"
	"os/exec"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/introspect"
	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/daemon/internal/vtable"
)

func names(node introspect.Node) (interfaces, children []string) {
	for _, i := range node.Interfaces {
		interfaces = append(interfaces, i.Name)
	}
	for _, c := range node.Children {
		children = append(children, c.Name)
	}
	return interfaces, children
}

func TestEveryNodeIsIntrospected(t *testing.T) {
	t.Parallel()
	s := serve(t)
	conn := s.bus.Dial()
	standard := []string{"org.freedesktop.DBus.Peer", "org.freedesktop.DBus.Introspectable", "org.freedesktop.DBus.Properties"}
	tests := map[dbus.ObjectPath]struct{ interfaces, children []string }{
		"/":                      {standard, []string{"org"}},
		"/org":                   {standard, []string{"example"}},
		"/org/example":           {append(standard, worldName), []string{"thing"}},
		"/org/example/thing":     {standard, []string{"one", "two"}},
		"/org/example/thing/one": {append(standard, thingName, worldName), nil},
	}
	for path, want := range tests {
		node, err := introspect.Call(conn.Object(busName, path))
		if err != nil {
			t.Fatal(err)
		}
		interfaces, children := names(*node)
		if diff := cmp.Diff(want.interfaces, interfaces); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
		if diff := cmp.Diff(want.children, children); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
	if _, err := introspect.Call(conn.Object(busName, "/x")); err == nil {
		t.Error("an unknown object can be introspected")
	}
}

func TestIntrospectionSaysWhatTheTablesSay(t *testing.T) {
	t.Parallel()
	text, err := vtable.Introspect(t.Context(), newWorld(), rootPath)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(text, "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"") {
		t.Errorf("it begins with %.80q", text)
	}
	var node introspect.Node
	if err := xml.Unmarshal([]byte(text), &node); err != nil {
		t.Fatal(err)
	}
	got := node.Interfaces[len(node.Interfaces)-1]
	want := introspect.Interface{
		Name: worldName,
		Properties: []introspect.Property{
			{Name: "Zeta", Type: "s", Access: "read", Annotations: emits("const")},
			{Name: "Alpha", Type: "a(so)", Access: "read"},
			{Name: "Level", Type: "s", Access: "readwrite", Annotations: append(emits("false"), introspect.Annotation{
				Name: "org.freedesktop.systemd1.Privileged", Value: "true",
			})},
		},
		Signals: []introspect.Signal{{Name: "Counted", Args: []introspect.Arg{{Name: "n", Type: "u"}}}},
	}
	methods := map[string][]introspect.Arg{
		"Add":      {{Name: "a", Type: "i", Direction: "in"}, {Name: "b", Type: "i", Direction: "in"}, {Name: "sum", Type: "i", Direction: "out"}},
		"Describe": {{Type: "v", Direction: "in"}, {Type: "a{saq}", Direction: "in"}, {Type: "s", Direction: "out"}},
		"Nothing":  nil,
		"Open":     {{Name: "bad", Type: "b", Direction: "in"}, {Name: "fd", Type: "h", Direction: "out"}, {Name: "text", Type: "s", Direction: "out"}},
	}
	for i, m := range got.Methods {
		if name := worldInterface.Methods[i].Name; m.Name != name {
			t.Errorf("method %d is %s, want %s", i, m.Name, name)
		}
		if args, ok := methods[m.Name]; ok {
			if diff := cmp.Diff(args, m.Args); diff != "" {
				t.Errorf("%s: %s", m.Name, diff)
			}
		}
	}
	got.Methods = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func emits(value string) []introspect.Annotation {
	return []introspect.Annotation{{Name: "org.freedesktop.DBus.Property.EmitsChangedSignal", Value: value}}
}

func TestStockToolsUnderstandTheTree(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("busctl"); err != nil {
		t.Skip("needs busctl")
	}
	s := serve(t)
	busctl := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("busctl", append([]string{"--address=" + s.bus.Address}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("busctl %v: %v: %s", args, err, out)
		}
		return string(out)
	}
	want := []string{"/", "/org", "/org/example", "/org/example/thing", "/org/example/thing/one", "/org/example/thing/two"}
	if diff := cmp.Diff(want, strings.Fields(busctl("tree", "--list", busName))); diff != "" {
		t.Error(diff)
	}
	out := busctl("introspect", busName, string(rootPath)+"/thing/one")
	for _, line := range []string{
		"org.example.Thing interface - - -", ".Name method - s -", ".Name property s \"one\" const",
		".Alpha property a(so) 1 \"a\" \"/a\" emits-change", ".Level property s \"info\" writable",
		".Counted signal u - -", ".Describe method va{saq} s -", ".Ping method - - -",
	} {
		if !containsLine(out, line) {
			t.Errorf("%q is not in\n%s", line, out)
		}
	}
	if got := busctl("call", busName, string(rootPath), worldName, "Add", "ii", "40", "2"); got != "i 42\n" {
		t.Errorf("got %q", got)
	}
}

// containsLine reports whether out has the line, no matter how the columns
// are set.
func containsLine(out, line string) bool {
	for l := range strings.Lines(out) {
		if strings.Join(strings.Fields(l), " ") == line {
			return true
		}
	}
	return false
}
