package booted

import (
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/bus"
	machd1 "github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/test/live"
)

// An introspected object, as far as it says something about the interface.
type introspected struct {
	Interfaces []struct {
		Name        string       `xml:"name,attr"`
		Annotations []annotation `xml:"annotation"`
		Methods     []member     `xml:"method"`
		Signals     []member     `xml:"signal"`
		Properties  []member     `xml:"property"`
	} `xml:"interface"`
}

type member struct {
	Name        string       `xml:"name,attr"`
	Type        string       `xml:"type,attr"`   // of a property
	Access      string       `xml:"access,attr"` // of a property
	Args        []arg        `xml:"arg"`
	Annotations []annotation `xml:"annotation"`
}

type arg struct {
	Name      string `xml:"name,attr"`
	Type      string `xml:"type,attr"`
	Direction string `xml:"direction,attr"`
}

type annotation struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

// members describes each member of the object at path in one line.
func members(t *testing.T, conn *dbus.Conn, path dbus.ObjectPath) []string {
	t.Helper()
	var text string
	target := bus.Target{Name: machine1.BusName, Path: path}
	must(t, bus.Call(t.Context(), conn, target, "org.freedesktop.DBus.Introspectable.Introspect", false, nil, &text))
	return membersIn(t, text)
}

// membersIn leaves out our own interfaces, which stock has not.
func membersIn(t *testing.T, text string) []string {
	t.Helper()
	var object introspected
	must(t, xml.Unmarshal([]byte(text), &object))
	var lines []string
	for _, i := range object.Interfaces {
		if i.Name == machd1.ManagerInterface || i.Name == machd1.MachineInterface {
			continue
		}
		if len(i.Annotations) > 0 {
			lines = append(lines, fmt.Sprintf("%s %v", i.Name, i.Annotations))
		}
		for kind, list := range map[string][]member{"method": i.Methods, "signal": i.Signals, "property": i.Properties} {
			for _, m := range list {
				lines = append(lines, fmt.Sprintf("%s %s.%s%s", kind, i.Name, m.Name, m))
			}
		}
	}
	slices.Sort(lines)
	return lines
}

func (m member) String() string {
	slices.SortFunc(m.Annotations, func(a, b annotation) int { return strings.Compare(a.Name, b.Name) })
	if m.Type != "" {
		return fmt.Sprintf(" %s %s %v", m.Type, m.Access, m.Annotations)
	}
	return fmt.Sprintf("%v %v", m.Args, m.Annotations)
}

// newer are the members that systemd has got since 257.
var newer = []string{
	"Manager.CreateMachineEx", "Manager.RegisterMachineEx",
	"Machine.Subgroup", "Machine.LeaderPIDFDId", "Machine.Supervisor", "Machine.SupervisorPIDFDId", "Machine.UID",
}

// reworded are the members whose description differs from 257's, and why.
var reworded = map[string]string{
	"Manager.CreateMachine":              onlyRoot,
	"Manager.CreateMachineWithNetwork":   onlyRoot,
	"Manager.RegisterMachine":            onlyRoot,
	"Manager.RegisterMachineWithNetwork": onlyRoot,
	"Manager.OpenMachinePTY":             onlyRoot,
}

const onlyRoot = "257 says that only root may call it; since 258 polkit is asked instead"

// short returns the last two parts of a member's name.
func short(line string) string {
	name, _, _ := strings.Cut(strings.Fields(line)[1], "[")
	parts := strings.Split(name, ".")
	return strings.Join(parts[len(parts)-2:], ".")
}

// compareMembers fails for every member that is not described as stock
// describes it.
func compareMembers(t *testing.T, path string, want, got []string) {
	t.Helper()
	old := live.Host.Version < 258
	for _, line := range want {
		if !slices.Contains(got, line) && (!old || reworded[short(line)] == "") {
			t.Errorf("%s: machd lacks\n%s", path, line)
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) && (!old || reworded[short(line)] == "" && !slices.Contains(newer, short(line))) {
			t.Errorf("%s: machd has besides\n%s", path, line)
		}
	}
}

// Programs generate code from what an object says of itself, and look for
// members before they call them.
func TestMachdServesWhatStockServes(t *testing.T) {
	w := watch(t)
	register(t, w, "introspected", startProcess(t, "introspected"))
	paths := []dbus.ObjectPath{machine1.ObjectPath, machine1.MachinePath("introspected"), machine1.MachinePath(".host"), machine1.ImagePath("tiny"),
		"/org/freedesktop/LogControl1"}
	got := map[dbus.ObjectPath][]string{}
	for _, path := range paths {
		got[path] = members(t, w.conn, path)
	}
	useStock(t)
	for _, path := range paths {
		compareMembers(t, string(path), members(t, w.conn, path), got[path])
	}
}

// Both programs describe themselves without a bus.
func TestMachdDescribesItselfAsStockDoes(t *testing.T) {
	t.Parallel()
	const ours, theirs = "/usr/libexec/machd", "/usr/lib/systemd/systemd-machined"
	list := run(t, theirs, "--bus-introspect=list")
	own := run(t, ours, "--bus-introspect=list")
	for line := range strings.Lines(list) {
		line = strings.TrimSpace(line)
		if !strings.Contains(own, line) {
			t.Errorf("machd's list lacks %q", line)
		}
		for pattern := range strings.FieldsSeq(line) {
			compareMembers(t, pattern, membersIn(t, run(t, theirs, "--bus-introspect="+pattern)), membersIn(t, run(t, ours, "--bus-introspect="+pattern)))
		}
	}
	for _, pattern := range []string{"/nowhere", "org.example.Nothing", "bad"} {
		want, got := observe(t, theirs, "--bus-introspect="+pattern), observe(t, ours, "--bus-introspect="+pattern)
		if got.Code != want.Code || !strings.Contains(got.Stderr, strings.TrimSpace(want.Stderr)) {
			t.Errorf("%s: machd says %+v, systemd-machined %+v", pattern, got, want)
		}
	}
}
