package busapi

import (
	"encoding/xml"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5/introspect"
	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

const membersFile = "../../../client/testdata/members.txt"

// What is served is what the tests of package client hold it to.
func TestMembersForClients(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("# Made of the daemon's tables by a test, with -update. Do not edit.\n")
	for _, d := range described {
		for _, binding := range d.bindings {
			name := binding.Interface.Name
			if strings.HasPrefix(name, machine1.BusName+".") || strings.HasPrefix(name, domainOf(machd.ManagerInterface)) {
				listMembers(t, &b, name)
			}
		}
	}
	got := b.String()
	if *update {
		must(t, os.WriteFile(membersFile, []byte(got), 0o644))
	}
	want, err := os.ReadFile(membersFile)
	must(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s is not what is served; run the test with -update (-file +now):\n%s", membersFile, diff)
	}
}

// domainOf returns what is before the last dot, with it.
func domainOf(name string) string { return name[:strings.LastIndexByte(name, '.')+1] }

// listMembers writes a line for each member: what it is, its name, the types
// that go in and those that come out.
func listMembers(t *testing.T, b *strings.Builder, name string) {
	t.Helper()
	text, err := Introspect(t.Context(), name)
	must(t, err)
	var node introspect.Node
	must(t, xml.Unmarshal([]byte(text), &node))
	for _, i := range node.Interfaces {
		if i.Name != name {
			continue
		}
		for _, m := range i.Methods {
			in, out := "", ""
			for _, arg := range m.Args {
				if arg.Direction == "out" {
					out += arg.Type
				} else {
					in += arg.Type
				}
			}
			fmt.Fprintf(b, "method %s.%s (%s) (%s)\n", name, m.Name, in, out)
		}
		for _, p := range i.Properties {
			fmt.Fprintf(b, "property %s.%s () (%s)\n", name, p.Name, p.Type)
		}
		for _, s := range i.Signals {
			out := ""
			for _, arg := range s.Args {
				out += arg.Type
			}
			fmt.Fprintf(b, "signal %s.%s () (%s)\n", name, s.Name, out)
		}
	}
}
