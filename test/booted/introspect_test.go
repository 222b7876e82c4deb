package booted

import (
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
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
	var object introspected
	must(t, xml.Unmarshal([]byte(text), &object))
	var lines []string
	for _, i := range object.Interfaces {
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

// missing are the members of the reference that machd does not serve, and why.
var missing = map[string]string{
	"Manager.CreateMachineEx":   "later",
	"Manager.RegisterMachineEx": "later; nspawn falls back to RegisterMachineWithNetwork",

	"Manager.BindMountMachine": "later", "Machine.BindMount": "later",
	"Manager.CopyFromMachine": "later", "Manager.CopyFromMachineWithFlags": "later",
	"Manager.CopyToMachine": "later", "Manager.CopyToMachineWithFlags": "later",
	"Machine.CopyFrom": "later", "Machine.CopyFromWithFlags": "later", "Machine.CopyTo": "later", "Machine.CopyToWithFlags": "later",

	"Manager.MapFromMachineGroup": "later", "Manager.MapFromMachineUser": "later",
	"Manager.MapToMachineGroup": "later", "Manager.MapToMachineUser": "later",

	"Manager.CleanPool": "later", "Manager.SetPoolLimit": "later",
	"Manager.CloneImage": "later", "Image.Clone": "later",
	"Manager.RemoveImage": "later", "Image.Remove": "later",
	"Manager.RenameImage": "later", "Image.Rename": "later",
	"Manager.MarkImageReadOnly": "later", "Image.MarkReadOnly": "later",
	"Manager.SetImageLimit": "later", "Image.SetLimit": "later",
	"Manager.GetImageHostname": "later", "Image.GetHostname": "later",
	"Manager.GetImageMachineID": "later", "Image.GetMachineID": "later",
	"Manager.GetImageMachineInfo": "later", "Image.GetMachineInfo": "later",
	"Manager.GetImageOSRelease": "later", "Image.GetOSRelease": "later",
}

// different are the members that are described in another way, and why.
var different = map[string]string{
	"LogControl1.LogLevel":  "machd does not say that writing it is privileged; the bus policy lets only root",
	"LogControl1.LogTarget": "as LogLevel",
}

// short returns the last two parts of a member's name.
func short(line string) string {
	name, _, _ := strings.Cut(strings.Fields(line)[1], "[")
	parts := strings.Split(name, ".")
	return strings.Join(parts[len(parts)-2:], ".")
}

// Programs generate code from what an object says of itself, and look for
// members before they call them.
func TestMachd262ServesWhatStockServes(t *testing.T) {
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
		want := members(t, w.conn, path)
		for _, line := range want {
			has := slices.Contains(got[path], line)
			switch why := missing[short(line)] + different[short(line)]; {
			case !has && why == "":
				t.Errorf("%s: machd lacks\n%s", path, line)
			case has && why != "":
				t.Errorf("%s: machd has now, take it off the list:\n%s", path, line)
			}
		}
		for _, line := range got[path] {
			if !slices.Contains(want, line) && different[short(line)] == "" {
				t.Errorf("%s: machd has besides\n%s", path, line)
			}
		}
	}
}
