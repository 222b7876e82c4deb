package machine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machine1"
)

// startMapped starts a child in a user namespace of its own.
func startMapped(t testing.TB, users, groups []syscall.SysProcIDMap) *proc.PIDFD {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mapping many ids needs root")
	}
	cmd := exec.Command("sleep", "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: users, GidMappings: groups, GidMappingsEnableSetgroups: true,
		Credential: &syscall.Credential{NoSetGroups: true},
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("cannot make a user namespace here: %v", err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	p, err := proc.Open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func idRange(inside, outside, count int) syscall.SysProcIDMap {
	return syscall.SysProcIDMap{ContainerID: inside, HostID: outside, Size: count}
}

// mapWorld has machines with all kinds of ids.
func mapWorld(t *testing.T) *world {
	w := newWorld(t)
	shift := []syscall.SysProcIDMap{idRange(0, 0x80000, 65536)}
	for name, leader := range map[string]*proc.PIDFD{
		"shifted": startMapped(t, shift, shift),
		"pieces": startMapped(t,
			[]syscall.SysProcIDMap{idRange(1000, 0x90000, 10), idRange(0, 0xa0000, 1)},
			[]syscall.SysProcIDMap{idRange(0, 0xb0000, 100)}),
		"partly": startMapped(t,
			[]syscall.SysProcIDMap{idRange(0, 0, 0x20000), idRange(0x20000, 0xd0000, 10)},
			[]syscall.SysProcIDMap{idRange(0, 0, 0x20000), idRange(0x20000, 0xd0000, 10)}),
		"plain": start(t, "").open(),
	} {
		w.put(Machine{Name: name, Class: machine1.ClassContainer, Leader: leader})
	}
	w.put(Machine{Name: "vm", Class: machine1.ClassVM, Leader: startMapped(t, shift, shift)})
	return w
}

// put adds a machine without asking for its unit.
func (w *world) put(m Machine) {
	w.registry.mu.Lock()
	defer w.registry.mu.Unlock()
	m = w.registry.newborn(m)
	w.registry.view.Store(w.View().with(&m))
}

func TestMapFrom(t *testing.T) {
	t.Parallel()
	w := mapWorld(t)
	const foreign = "Not supported for non-container machines."
	tests := []struct {
		name  string
		kind  IDKind
		inner uint32
		outer uint32
		fails string
		is    []error
	}{
		{"shifted", UserID, 0, 0x80000, "", nil},
		{"shifted", GroupID, 1000, 0x803e8, "", nil},
		{"shifted", UserID, 65534, 0x8fffe, "", nil},
		{"shifted", UserID, 65536, 0, "Machine 'shifted' has no matching user mappings.", []error{machine1.ErrNoSuchUserMapping}},
		{"shifted", GroupID, 65536, 0, "Machine 'shifted' has no matching group mappings.", []error{machine1.ErrNoSuchUserMapping}},
		{"pieces", UserID, 0, 0xa0000, "", nil},
		{"pieces", UserID, 1009, 0x90009, "", nil},
		{"pieces", UserID, 1, 0, "Machine 'pieces' has no matching user mappings.", []error{machine1.ErrNoSuchUserMapping}},
		{"plain", UserID, 70000, 70000, "", nil},
		{"none", UserID, 0, 0, "No machine 'none' known", []error{machine1.ErrNoSuchMachine}},
		{"none", UserID, 0xffff, 0, "Invalid user ID 65535", []error{machine1.ErrInvalidArgs}},
		{"shifted", GroupID, 0xffffffff, 0, "Invalid group ID 4294967295", []error{machine1.ErrInvalidArgs}},
		{machine1.Host, UserID, 0, 0, foreign, []error{ErrNotContainer, machine1.ErrInvalidArgs}},
		{"vm", GroupID, 0, 0, foreign, []error{ErrNotContainer, machine1.ErrInvalidArgs}},
	}
	for _, test := range tests {
		got, err := w.MapFrom(t.Context(), test.name, test.kind, test.inner)
		what := fmt.Sprintf("%s %d of %s", test.kind, test.inner, test.name)
		checkMapping(t, what, err, test.fails, test.is)
		if got != test.outer {
			t.Errorf("%s: %d, want %d", what, got, test.outer)
		}
	}
}

func TestMapTo(t *testing.T) {
	t.Parallel()
	w := mapWorld(t)
	user, group := machine1.ErrNoSuchUserMapping, machine1.ErrNoSuchGroupMapping
	tests := []struct {
		kind  IDKind
		outer uint32
		name  string
		inner uint32
		fails string
		is    []error
	}{
		{UserID, 0x80000, "shifted", 0, "", nil},
		{GroupID, 0x8ffff, "shifted", 65535, "", nil},
		{UserID, 0xa0000, "pieces", 0, "", nil},
		{UserID, 0x90009, "pieces", 1009, "", nil},
		{GroupID, 0xb0063, "pieces", 99, "", nil},
		{UserID, 0xd0001, "partly", 0x20001, "", nil},
		{UserID, 0x1ffff, "", 0, "No matching user mapping for 131071.", []error{user}},
		{GroupID, 0x1ffff, "", 0, "No matching group mapping for 131071.", []error{group}},
		{UserID, 0, "", 0, "User 0 belongs to host UID range", []error{user, ErrHostRange}},
		{GroupID, 0xfffe, "", 0, "Group 65534 belongs to host GID range", []error{group, ErrHostRange}},
		{UserID, 0xffff, "", 0, "Invalid user ID 65535", []error{machine1.ErrInvalidArgs}},
		{GroupID, 0xffffffff, "", 0, "Invalid group ID 4294967295", []error{machine1.ErrInvalidArgs}},
	}
	for _, test := range tests {
		m, got, err := w.MapTo(t.Context(), test.kind, test.outer)
		what := fmt.Sprintf("%s %d", test.kind, test.outer)
		checkMapping(t, what, err, test.fails, test.is)
		if m.Name != test.name || got != test.inner {
			t.Errorf("%s: %q %d, want %q %d", what, m.Name, got, test.name, test.inner)
		}
	}
}

func checkMapping(t *testing.T, what string, err error, text string, kinds []error) {
	t.Helper()
	if text == "" && err == nil {
		return
	}
	if err == nil || err.Error() != text || slices.ContainsFunc(kinds, func(kind error) bool { return !errors.Is(err, kind) }) {
		t.Errorf("%s: got error %v, want %q of %v", what, err, text, kinds)
	}
}

func BenchmarkMapTo(b *testing.B) {
	for _, shifted := range []bool{true, false} {
		b.Run(fmt.Sprintf("1000 machines, shifted %v", shifted), func(b *testing.B) {
			view := newView()
			for n := range 1000 {
				ids := []syscall.SysProcIDMap{idRange(0, 0x80000+n*65536, 65536)}
				if !shifted {
					ids = []syscall.SysProcIDMap{idRange(0, 0, 4294967295)}
				}
				m := Machine{Name: fmt.Sprintf("m%d", n), Class: machine1.ClassContainer, Leader: startMapped(b, ids, ids), life: newLife()}
				view = view.with(&m)
			}
			m := &Manager{registry: &Registry{}}
			m.registry.view.Store(view)
			b.ResetTimer()
			for b.Loop() {
				if _, _, err := m.MapTo(b.Context(), UserID, 0xfffffff0); err == nil {
					b.Fatal("found")
				}
			}
			b.StopTimer()
			for one := range view.All() {
				one.Leader.Close()
			}
		})
	}
}
