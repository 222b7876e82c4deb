package machine

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/pkg/machine1"
)

// synthetic returns a machine without processes: the registry goes by their
// identities alone.
func synthetic(name string, pid int) Machine {
	return Machine{
		Name:   name,
		Class:  machine1.ClassContainer,
		Unit:   "systemd-nspawn@" + name + ".service",
		leader: identity{pid, uint64(pid) + 1<<32},
	}
}

func newTestRegistry(t testing.TB, emit func(Event)) *Registry {
	t.Helper()
	return newRegistry(stateDir(t.TempDir()), emit, slog.New(slog.DiscardHandler))
}

func ignore(Event) {}

func mustAdd(t testing.TB, r *Registry, m Machine) Machine {
	t.Helper()
	added, err := r.Add(m)
	if err != nil {
		t.Fatal(err)
	}
	return added
}

func TestViewFindsByEveryKey(t *testing.T) {
	t.Parallel()
	r := newTestRegistry(t, ignore)
	mustAdd(t, r, synthetic("b", 12))
	before := r.View()
	mustAdd(t, r, synthetic("a", 123))
	below := synthetic("c", 1)
	below.Subgroup = "payload"
	mustAdd(t, r, below)
	old := synthetic("d", 99)
	old.leader.id = 0
	mustAdd(t, r, old)

	view := r.View()
	names := slices.Collect(func(yield func(string) bool) {
		for m := range view.All() {
			if !yield(m.Name) {
				return
			}
		}
	})
	if diff := cmp.Diff(names, []string{"a", "b", "c", "d"}); diff != "" {
		t.Errorf("got - want +\n%s", diff)
	}
	finds := map[string]struct {
		find func() (Machine, bool)
		want string
	}{
		"a name":                            {func() (Machine, bool) { return view.Get("a") }, "a"},
		"an unknown name":                   {func() (Machine, bool) { return view.Get("aa") }, ""},
		"a name, uncopied":                  {func() (Machine, bool) { return found(view.Lookup("a"), view.Lookup("a") != nil) }, "a"},
		"an unknown name, uncopied":         {func() (Machine, bool) { return found(view.Lookup("aa"), view.Lookup("aa") != nil) }, ""},
		"a leader and its inode":            {func() (Machine, bool) { return view.ByLeader(12, 12+1<<32) }, "b"},
		"a leader without inode":            {func() (Machine, bool) { return view.ByLeader(12, 0) }, "b"},
		"a PID that was used again":         {func() (Machine, bool) { return view.ByLeader(12, 7) }, ""},
		"a leader whose inode is not known": {func() (Machine, bool) { return view.ByLeader(99, 7) }, "d"},
		"the beginning of a PID":            {func() (Machine, bool) { return view.ByLeader(9, 0) }, ""},
		"a unit":                            {func() (Machine, bool) { return view.ByUnit("systemd-nspawn@b.service") }, "b"},
		"a unit that is not owned":          {func() (Machine, bool) { return view.ByUnit("systemd-nspawn@c.service") }, ""},
		"no unit":                           {func() (Machine, bool) { return view.ByUnit("") }, ""},
		"what an older View did not have":   {func() (Machine, bool) { return before.Get("a") }, ""},
	}
	for name, tt := range finds {
		m, ok := tt.find()
		if m.Name != tt.want || ok != (tt.want != "") {
			t.Errorf("%s: got %q, %v, want %q", name, m.Name, ok, tt.want)
		}
	}
	if before.Len() != 1 || view.Len() != 4 {
		t.Errorf("lengths %d and %d", before.Len(), view.Len())
	}
}

func TestRegistryRefuses(t *testing.T) {
	t.Parallel()
	r := newTestRegistry(t, ignore)
	mustAdd(t, r, synthetic("a", 10))
	reserved, release, err := r.Reserve(synthetic("r", 20))
	if err != nil {
		t.Fatal(err)
	}
	change := func(m Machine, change func(*Machine)) Machine {
		change(&m)
		return m
	}
	tests := map[string]struct {
		add  Machine
		kind error
		text string
	}{
		"a name that is taken":      {synthetic("a", 11), machine1.ErrMachineExists, "Machine 'a' already exists"},
		"a leader that has one":     {synthetic("b", 10), syscall.EEXIST, "Process 10 already leads machine 'a'"},
		"a unit that has an owner":  {change(synthetic("b", 11), func(m *Machine) { m.Unit = "systemd-nspawn@a.service" }), syscall.EEXIST, "Unit systemd-nspawn@a.service already belongs to machine 'a'"},
		"a name that is reserved":   {synthetic("r", 12), machine1.ErrMachineExists, "Machine 'r' already exists"},
		"a leader that is reserved": {synthetic("b", 20), syscall.EEXIST, "Process 20 already leads machine 'r'"},
	}
	for name, tt := range tests {
		if _, err := r.Add(tt.add); !errors.Is(err, tt.kind) || err.Error() != tt.text {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := r.Add(reserved); err != nil {
		t.Errorf("what was reserved: %v", err)
	}
	release()
	if _, err := r.Add(synthetic("r", 30)); !errors.Is(err, machine1.ErrMachineExists) {
		t.Errorf("after release: %v", err)
	}
}

func TestManyMachinesInOneUnit(t *testing.T) {
	t.Parallel()
	r := newTestRegistry(t, ignore)
	for i := range 3 {
		m := synthetic(fmt.Sprint("m", i), i+10)
		m.Unit, m.Subgroup = "user@1000.service", fmt.Sprint("payload", i)
		mustAdd(t, r, m)
	}
	owner := synthetic("owner", 20)
	owner.Unit = "user@1000.service"
	mustAdd(t, r, owner)
	if r.View().Len() != 4 {
		t.Errorf("%d machines", r.View().Len())
	}
}

// TestOnlyTheMachineThatWasSeen changes nothing of a newer machine that has
// the same name.
func TestOnlyTheMachineThatWasSeen(t *testing.T) {
	t.Parallel()
	r := newTestRegistry(t, ignore)
	first := mustAdd(t, r, synthetic("a", 10))
	if _, ok := r.Remove(first, nil); !ok {
		t.Fatal("not removed")
	}
	second := mustAdd(t, r, synthetic("a", 11))
	if _, ok := r.Remove(first, nil); ok {
		t.Error("removed the newer machine")
	}
	if _, ok := r.Update(first, func(m *Machine) { m.Stopping = true }); ok {
		t.Error("changed the newer machine")
	}
	if now, ok := r.Update(second, func(m *Machine) { m.Stopping = true }); !ok || now.State() != machine1.StateClosing {
		t.Errorf("%v, %v", now.State(), ok)
	}
	if second.Stopping {
		t.Error("a copy changed")
	}
}

// TestEventsOfANameAreInOrder has 16 goroutines fight for 4 names.
func TestEventsOfANameAreInOrder(t *testing.T) {
	t.Parallel()
	const workers, rounds, names = 16, 200, 4

	there := map[string]bool{} // guarded by the registry's lock
	events := 0
	var r *Registry
	r = newTestRegistry(t, func(e Event) {
		events++
		if there[e.Machine.Name] == e.Added {
			t.Errorf("%s twice", describe(e))
		}
		there[e.Machine.Name] = e.Added
		if _, ok := r.View().Get(e.Machine.Name); ok != e.Added {
			t.Errorf("%s before the View shows it", describe(e))
		}
	})
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			for round := range rounds {
				m, err := r.Add(synthetic(fmt.Sprint("m", round%names), worker*rounds+round+2))
				if errors.Is(err, machine1.ErrMachineExists) {
					m, _ = r.View().Get(fmt.Sprint("m", round%names))
				} else if err != nil {
					t.Error(err)
				}
				r.Remove(m, nil)
			}
		})
	}
	wg.Wait()
	if events == 0 || r.View().Len() != 0 || len(entriesOf(t, string(r.dir))) != 0 {
		t.Errorf("%d events, %d machines, files %q", events, r.View().Len(), entriesOf(t, string(r.dir)))
	}
}

// BenchmarkRegister is one registration and its end among so many machines.
func BenchmarkRegister(b *testing.B) {
	for _, population := range []int{10, 1_000, 10_000} {
		b.Run(fmt.Sprint(population), func(b *testing.B) {
			r := newTestRegistry(b, ignore)
			for i := range population {
				mustAdd(b, r, synthetic(fmt.Sprintf("machine-%d", i), i+2))
			}
			for b.Loop() {
				r.Remove(mustAdd(b, r, synthetic("newcomer", 1_000_000)), nil)
			}
		})
	}
}
