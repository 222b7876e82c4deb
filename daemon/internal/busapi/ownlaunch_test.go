package busapi

import (
	"context"
	"reflect"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// plannedHere is what every plan of launchWorld's changes.
var plannedHere = machd.Change{Kind: "property", Name: "MemoryMax", To: "1G"}

func (w *launchWorld) PlanStart(_ context.Context, name string, o machd.StartOptions) (string, []machd.Change, error) {
	w.note("plan "+o.Memory, machine.Machine{Name: name}, machd.StopOptions{})
	return "u.service", []machd.Change{plannedHere}, nil
}

func (w *launchWorld) SetLimits(_ context.Context, m machine.Machine, o machd.LimitOptions) error {
	w.note("limit "+o.Tasks, m, machd.StopOptions{})
	return nil
}

func TestPlanningAndLimiting(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	limits := machd.LimitOptions{Limits: machd.Limits{Tasks: "7"}}.Variants()
	plan := machd.StartOptions{Limits: machd.Limits{Memory: "1G"}}.Variants()
	unknown := map[string]dbus.Variant{"colour": dbus.MakeVariant("red")}
	for _, c := range []struct {
		path dbus.ObjectPath
		call string
		in   []any
		want string // "" for none
	}{
		{machine1.ObjectPath, machd.ManagerInterface + ".PlanStart", []any{"new", plan}, "plan 1G new"},
		{machine1.ObjectPath, machd.ManagerInterface + ".PlanStart", []any{"new", unknown}, ""},
		{machine1.ObjectPath, machd.ManagerInterface + ".SetLimits", []any{aContainer, limits}, "limit 7 MACHINE listed"},
		{machine1.ObjectPath, machd.ManagerInterface + ".SetLimits", []any{"nope", limits}, ""},
		{machine1.ObjectPath, machd.ManagerInterface + ".SetLimits", []any{aContainer, unknown}, ""},
		{machine1.MachinePath(aVM), machd.MachineInterface + ".SetLimits", []any{limits}, "limit 7 VM listed"},
	} {
		call := w.client.Object(w.server, c.path).Call(c.call, 0, c.in...)
		want := []string{c.want}
		if c.want == "" {
			want = nil
		}
		if got := w.launch.take(); !reflect.DeepEqual(got, want) || (call.Err != nil) != (c.want == "") {
			t.Errorf("%s %v: got %v, %v, want %v", c.call, c.in[0], got, call.Err, want)
		}
	}
	var unit string
	var changes []machd.Change
	must(t, w.call(t, machine1.ObjectPath, machd.ManagerInterface+".PlanStart", []any{"new", plan}, &unit, &changes))
	if diff := cmp.Diff([]machd.Change{plannedHere}, changes); diff != "" || unit != "u.service" {
		t.Errorf("the plan came as %q, %s", unit, diff)
	}
}
