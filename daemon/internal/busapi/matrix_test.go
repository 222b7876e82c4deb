package busapi

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/daemon/internal/auth"
	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/machine1"
)

var update = flag.Bool("update", false, "write the golden files anew")

const matrixFile = "testdata/matrix.txt"

// The matrix says who may call what. It is made by calling every method there
// is and watching what polkit is asked, so that no method can be forgotten.
// Details are as the call has them; those in capitals come from its arguments.
func TestAuthorizationMatrix(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.polkit.say(machine1.ErrAccessDenied)
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "METHOD\tACTION\tON THE HOST\tOWNER\tDETAILS")
	for _, object := range []struct {
		path  dbus.ObjectPath
		table *vtable.Interface
	}{
		{machine1.ObjectPath, &managerInterface},
		{machine1.MachinePath(aContainer), &machineInterface},
		{machine1.ImagePath(anImage), &imageInterface},
		{machine1.ObjectPath, &ownManagerInterface},
		{machine1.MachinePath(aContainer), &ownMachineInterface},
	} {
		for _, row := range object.table.Methods {
			w.askAbout(t, table, object.path, object.table, row)
		}
	}
	table.Flush()
	got := trimLines(text.String())
	if *update {
		must(t, os.MkdirAll(filepath.Dir(matrixFile), 0o755))
		must(t, os.WriteFile(matrixFile, []byte(got), 0o644))
	}
	want, err := os.ReadFile(matrixFile)
	must(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s is not what is asked any more (-file +now); after a look at it, run the test with -update:\n%s", matrixFile, diff)
	}
}

// askAbout calls a method and writes the line about it.
func (w *world) askAbout(t *testing.T, table *tabwriter.Writer, path dbus.ObjectPath, i *vtable.Interface, row vtable.Method) {
	t.Helper()
	name := i.Name + "." + row.Name
	w.polkit.take()
	err := w.call(t, path, name, argumentsOf(row, aContainer))
	asked := w.polkit.take()
	if len(asked) == 0 {
		if row.Access != "" {
			t.Errorf("%s: polkit is not asked about %s: %v", name, row.Access, err)
		}
		fmt.Fprintf(table, "%s\t-\t-\t-\t\n", shortName(name))
		return
	}
	if len(asked) > 1 || asked[0].Action != row.Access {
		t.Errorf("%s: polkit is asked %v, and the row says %q", name, asked, row.Access)
	}
	if tellsLess := row.Name == "ListOverview"; tellsLess && err != nil || !tellsLess && !errors.Is(err, machine1.ErrAccessDenied) {
		t.Errorf("%s: polkit says no, and the answer is %v", name, err)
	}
	owner := "no"
	if asked[0].Owner != nil {
		owner = "yes"
	}
	host := w.askAboutHost(t, path, name, row)
	fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", shortName(name), shortName(asked[0].Action), host, owner, detailsOf(asked[0]))
}

// askAboutHost returns what polkit is asked if the method is for the host.
func (w *world) askAboutHost(t *testing.T, path dbus.ObjectPath, name string, row vtable.Method) string {
	t.Helper()
	first, _, _ := strings.Cut(row.In, " ")
	switch {
	case strings.HasPrefix(string(path), machineNode):
		path = machine1.MachinePath(machine1.Host)
	case strings.HasPrefix(string(path), imageNode), strings.Contains(row.Name, "Image"), !slices.Contains([]string{"name", "id", "machine"}, first):
		return "-"
	}
	err := w.call(t, path, name, argumentsOf(row, machine1.Host))
	asked := w.polkit.take()
	switch {
	case len(asked) == 0:
		return strings.TrimPrefix(machine1.ErrorName(err), "org.freedesktop.DBus.Error.")
	case asked[0].Action == row.Access:
		return "the same"
	}
	return shortName(asked[0].Action)
}

// argumentsOf returns arguments that pass every check before polkit.
func argumentsOf(row vtable.Method, machineName string) []any {
	fn := reflect.TypeOf(row.Func)
	names := strings.Fields(row.In)
	args := make([]any, len(names))
	for i, name := range names {
		args[i] = argumentOf(row, name, fn.In(i+3), machineName)
	}
	return args
}

func argumentOf(row vtable.Method, name string, t reflect.Type, machineName string) any {
	switch {
	case name == "name" && (strings.HasPrefix(row.Name, "Create") || strings.HasPrefix(row.Name, "Register")) && machineName != machine1.Host:
		return "NAME"
	case name == "name" && strings.Contains(row.Name, "Image"):
		return anImage
	case name == "image":
		return anImage
	case name == "source" && row.Name == "CreateImage":
		return "debian:13"
	case name == "name", name == "machine", name == "id" && row.Name == "TerminateMachine":
		return machineName
	case name == "class":
		return "container"
	case name == "whom":
		return ""
	case name == "path", name == "source":
		return "/" + strings.ToUpper(name)
	case name == "destination":
		return "/DEST"
	case name == "user":
		return "user"
	case name == "root_directory":
		return ""
	case name == "mode":
		return "hidden"
	case name == "id":
		return []byte{}
	case name == "signal":
		return int32(15)
	}
	switch t {
	case reflect.TypeFor[string]():
		return "NEW"
	case reflect.TypeFor[[]string]():
		return map[string][]string{"args": {"ARG0", "ARG1"}, "environment": {}, "arguments": {"/PROGRAM", "ARG1"}, "ports": {"8080:80"}}[name]
	case reflect.TypeFor[[]machine1.Property]():
		if name == "properties" {
			return []machine1.Property{{Name: "Class", Value: dbus.MakeVariant("container")}}
		}
	}
	if t.Kind() == reflect.Slice {
		return reflect.MakeSlice(t, 0, 0).Interface()
	}
	if t.Kind() == reflect.Map {
		return reflect.MakeMap(t).Interface()
	}
	return reflect.Zero(t).Interface()
}

func detailsOf(r auth.Request) string {
	var list []string
	for _, key := range slices.Sorted(maps.Keys(r.Details)) {
		list = append(list, key+"="+r.Details[key])
	}
	return strings.Join(list, ", ")
}

func shortName(name string) string {
	for _, prefix := range []string{machine1.BusName + "."} {
		name = strings.TrimPrefix(name, prefix)
	}
	return name
}

func trimLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}
