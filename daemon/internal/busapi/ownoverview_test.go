package busapi

import (
	"slices"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

func (w *world) overview(t *testing.T, names ...string) (listed []string, rows []machd.MachineOverview) {
	t.Helper()
	in := []any{append([]string{}, names...), map[string]dbus.Variant{"patience": dbus.MakeVariant(uint64(1e6))}}
	must(t, w.call(t, machine1.ObjectPath, machd.ManagerInterface+".ListOverview", in, &rows))
	for _, r := range rows {
		listed = append(listed, r.Name)
	}
	return listed, rows
}

// Whoever may not look into machines is told all but what is in them, and polkit
// is asked once.
func TestAnOverviewTellsLessToWhoMayNotLookIntoMachines(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.polkit.say(machine1.ErrAccessDenied)
	names, rows := w.overview(t)
	if want := []string{machine1.Host, aContainer, aVM}; !slices.Equal(names, want) {
		t.Fatalf("machines %v, want %v", names, want)
	}
	container, vm := rows[1], rows[2]
	if container.Leader == 0 || container.State != "running" || container.Since == 0 || container.Class != "container" {
		t.Errorf("%+v", container)
	}
	if want := machine1.ErrorName(machine1.ErrAccessDenied); container.OSError != want || rows[0].OSError != want {
		t.Errorf("of os-release %q and %q, want %q", container.OSError, rows[0].OSError, want)
	}
	if want := machine1.ErrorName(machine1.ErrNoPrivateNetworking); container.AddressError != want {
		t.Errorf("of addresses %q, want %q", container.AddressError, want)
	}
	if want := machine1.ErrorName(machine1.ErrNotSupported); vm.OSError != want || vm.AddressError != want {
		t.Errorf("of a virtual machine %q and %q, want %q", vm.OSError, vm.AddressError, want)
	}
	if asked := w.polkit.take(); len(asked) != 1 {
		t.Errorf("polkit was asked %v", asked)
	}
	if leaders := w.inside.take(); len(leaders) > 0 {
		t.Errorf("%d machines were looked into", len(leaders))
	}
}

func TestAnOverviewOfSomeMachines(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	names, rows := w.overview(t, aVM, "nope", aContainer, aVM)
	if want := []string{aContainer, aVM}; !slices.Equal(names, want) {
		t.Fatalf("machines %v, want %v", names, want)
	}
	if leaders := w.inside.take(); len(leaders) != 1 {
		t.Errorf("%d machines were looked into", len(leaders))
	}
	// What insideWorld answers is no error of the bus.
	if rows[0].OSError != "org.freedesktop.DBus.Error.Failed" {
		t.Errorf("of os-release %q", rows[0].OSError)
	}
}
