package doctor

import (
	"errors"
	"slices"
	"testing"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

func TestAllIsWell(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	found, err := w.doctor.Diagnose(t.Context(), "c1", machd.DiagnoseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	wantWell(t, found)
	var want []string
	for _, c := range slices.Concat(quietChecks, livelyChecks) {
		if c.name != "inward" && c.name != "sender" { // it has no such port, nor other addresses
			want = append(want, c.name)
		}
	}
	var got []string
	for _, f := range found {
		got = append(got, f.Check)
	}
	if !slices.Equal(got, want) {
		t.Errorf("looked for %q, want %q", got, want)
	}
	found, err = w.doctor.Diagnose(t.Context(), "", machd.DiagnoseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	wantWell(t, found)
	if want := len(hostChecks) + 1; len(found) != want {
		t.Errorf("%d lines of host and machine, want %d: %+v", len(found), want, found)
	}
	if rules := w.host.sh("nft list tables; ip link"); containsAny(rules, traceTableName, injectorName) {
		t.Errorf("a diagnosis left something: %s", rules)
	}
}

func TestNoSuchMachine(t *testing.T) {
	t.Parallel()
	w := &world{paths: scratchPaths(t)}
	_, err := newDoctor(w, nil).Diagnose(t.Context(), "nobody", machd.DiagnoseOptions{})
	if !errors.Is(err, machine1.ErrNoSuchMachine) {
		t.Errorf("got %v", err)
	}
}

// A breakage is one thing that is not as it should be, and what is said of it.
type breakage struct {
	name, check string
	broken      func(*testing.T, *world)
	says        []string
	fixed       bool // fix mends it, and all is well then
}

// try breaks a world of its own for each breakage and looks at machine, or at the
// host.
func try(t *testing.T, machine string, breakages []breakage) {
	t.Parallel()
	for _, b := range breakages {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			b.broken(t, w)
			f := wantFinding(t, w.look(t, machine, b.check), b.says...)
			if f.Safe != b.fixed {
				t.Errorf("safe to fix is %t, want %t", f.Safe, b.fixed)
			}
			if !b.fixed {
				return
			}
			all, err := w.doctor.Diagnose(t.Context(), machine, machd.DiagnoseOptions{Fix: true})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(all, func(f machd.Finding) bool { return f.Check == b.check && f.Fixed }) {
				t.Errorf("nothing was fixed: %+v", all)
			}
			wantWell(t, w.look(t, machine, b.check))
		})
	}
}
