package machine

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/pkg/machine1"
)

func TestPlace(t *testing.T) {
	t.Parallel()
	const service = "/machine.slice/systemd-nspawn@a.service"
	tests := map[string]struct {
		leader, caller string
		unit, subgroup string
	}{
		"a scope": {
			"/machine.slice/a.scope", "/system.slice/x.service", "a.scope", ""},
		"nspawn 257 in the shipped unit": {
			service + "/supervisor", service + "/supervisor", "systemd-nspawn@a.service", ""},
		"nspawn 257 in the shipped unit, by somebody else": {
			service + "/supervisor", "", "systemd-nspawn@a.service", ""},
		"nspawn 257 in a unit with another subgroup": {
			service + "/main", service + "/main", "systemd-nspawn@a.service", ""},
		"nspawn 262, which moves the leader first": {
			service + "/payload", service + "/supervisor", "systemd-nspawn@a.service", "payload"},
		"a tool in a user's session": {
			"/user.slice/user-1000.slice/user@1000.service/app.slice/t.scope",
			"/user.slice/user-1000.slice/user@1000.service/app.slice/t.scope",
			"user@1000.service", "app.slice/t.scope"},
		"a user's service manager": {
			"/user.slice/user-1000.slice/user@1000.service/init.scope",
			"/user.slice/user-1000.slice/user@1000.service/init.scope",
			"user@1000.service", "init.scope"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			unit, subgroup, err := (&Manager{}).place(tt.leader, tt.caller)
			if unit != tt.unit || subgroup != tt.subgroup || err != nil {
				t.Errorf("got %q, %q, %v, want %q, %q", unit, subgroup, err, tt.unit, tt.subgroup)
			}
		})
	}
	if unit, _, err := (&Manager{}).place("/", ""); err == nil {
		t.Errorf("the root is in %q", unit)
	}
}

func TestRegisterRecordsTheMachine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	service := newUnit(t)
	leader := start(t, service)

	m := w.register("a", leader)
	if m.Unit != service || !m.OwnsUnit() || m.State() != machine1.StateRunning || m.Realtime == 0 || m.VSockCID != machine1.VSockCIDAny {
		t.Errorf("got %+v", m)
	}
	if diff := cmp.Diff(entriesOf(t, w.dir), []string{"a", "unit:" + service}); diff != "" {
		t.Errorf("got - want +\n%s", diff)
	}
	again, err := stateDir(w.dir).load("a")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(again, m, compareMachines); diff != "" {
		t.Errorf("file - machine +\n%s", diff)
	}
}

func TestRegisterRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	service, other := newUnit(t), newUnit(t)
	first := start(t, service)
	w.register("a", first)
	dead := start(t, other)
	deadFD := dead.open()
	dead.kill()

	tests := map[string]struct {
		change func(*Registration)
		kind   error
		text   string
	}{
		"a name that is taken":       {func(r *Registration) { r.Name = "a" }, machine1.ErrMachineExists, "Machine 'a' already exists"},
		"a name that is none":        {func(r *Registration) { r.Name = "a_b" }, machine1.ErrInvalidArgs, "Invalid machine name"},
		"the host's name":            {func(r *Registration) { r.Name = ".host" }, machine1.ErrInvalidArgs, "Invalid machine name"},
		"no class":                   {func(r *Registration) { r.Class = "" }, machine1.ErrNotSupported, ""},
		"no leader":                  {func(r *Registration) { r.Leader.Close(); r.Leader = nil }, machine1.ErrInvalidArgs, "Invalid leader PID"},
		"a leader that has one":      {func(r *Registration) { r.Leader.Close(); r.Leader = first.open() }, syscall.EEXIST, ""},
		"a leader that is dead":      {func(r *Registration) { r.Leader.Close(); r.Leader = deadFD }, syscall.ESRCH, ""},
		"a unit that has an owner":   {func(r *Registration) { r.Leader.Close(); r.Leader = start(t, service).open() }, syscall.EEXIST, ""},
		"a leader outside all units": {func(r *Registration) { r.Leader.Close(); r.Leader = start(t, ".").open() }, nil, ""},
	}
	for name, tt := range tests {
		r := registrationOf("b", start(t, other))
		r.Supervisor = first.open()
		tt.change(&r)
		_, err := w.Register(t.Context(), r)
		if err == nil || tt.kind != nil && !errors.Is(err, tt.kind) || tt.text != "" && err.Error() != tt.text {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.wantNoEvent()
	if calls := w.pid1.called(""); calls != nil {
		t.Errorf("PID 1 was told %q", calls)
	}
	if !first.alive() || w.get("a").Stopping {
		t.Error("the first machine was touched")
	}
}

// TestSubgroups has three machines in one unit, none of which owns it.
func TestSubgroups(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	service := newUnit(t, "payload", "other", "supervisor")
	payload := w.register("payload", start(t, service+"/payload"))
	other := w.register("other", start(t, service+"/other"))
	owner := w.register("owner", start(t, service+"/supervisor"))

	if payload.Subgroup != "payload" || payload.OwnsUnit() || other.OwnsUnit() || !owner.OwnsUnit() {
		t.Errorf("subgroups %q, %q, %q", payload.Subgroup, other.Subgroup, owner.Subgroup)
	}
	if target, _ := os.Readlink(filepath.Join(w.dir, "unit:"+service)); target != "owner" {
		t.Errorf("link to %q", target)
	}
}

// TestLeaderDies is the promise to registrants: the name is free when the
// process is gone, whatever the unit does.
func TestLeaderDies(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"in a service":  "",
		"in a subgroup": "payload",
	}
	for name, subgroup := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			service := newUnit(t, subgroup)
			sibling := start(t, service)
			w.pid1.setState(service, "active")
			supervisor := start(t, "")

			for range 10 {
				leader := start(t, filepath.Join(service, subgroup))
				r := registrationOf("a", leader)
				r.Supervisor = supervisor.open()
				if _, err := w.Register(t.Context(), r); err != nil {
					t.Fatal(err)
				}
				w.wantEvent("+a")
				leader.kill()
				w.wantEvent("-a")
				if got := entriesOf(t, w.dir); got != nil {
					t.Errorf("directory has %q", got)
				}
			}
			if calls := w.pid1.called(""); calls != nil || !sibling.alive() || !supervisor.alive() {
				t.Errorf("PID 1 was told %q; sibling alive %v, supervisor alive %v", calls, sibling.alive(), supervisor.alive())
			}
		})
	}
}

// TestImpliedLeader is a machine that a short-lived command has registered: it
// stays while its unit does, but in nobody's way.
func TestImpliedLeader(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	service := newUnit(t)
	w.pid1.setState(service, "active")
	register := func() {
		t.Helper()
		command := start(t, service)
		r := registrationOf("a", command)
		r.Implied = true
		if _, err := w.Register(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		w.wantEvent("+a")
		command.kill()
		w.check(t.Context(), "a")
		if _, ok := w.View().Get("a"); !ok {
			t.Fatal("the machine went with the command")
		}
	}
	register()
	w.pid1.setState(service, "inactive")
	w.UnitEvent(unit.Event{Kind: unit.UnitChanged, Unit: service})
	w.wantEvent("-a")

	w.pid1.setState(service, "active")
	register()
	// Who asks for its name has not been asked who he is.
	if err := w.CheckName(t.Context(), "a"); err != nil {
		t.Errorf("its name is not to be had: %v", err)
	}
	if _, ok := w.View().Get("a"); !ok {
		t.Error("the machine went before there was another one")
	}
	if _, err := w.Register(t.Context(), registrationOf("a", start(t, newUnit(t)))); err != nil {
		t.Fatal(err)
	}
	w.wantEvent("-a")
	w.wantEvent("+a")
	if calls := w.pid1.called("Stop"); calls != nil {
		t.Errorf("PID 1 was told %q", calls)
	}
}

// TestRegisterAfterADeath registers before anybody can have collected the
// machine that died.
func TestRegisterAfterADeath(t *testing.T) {
	t.Parallel()
	w := idleWorldIn(t, t.TempDir())
	service := newUnit(t)
	first := start(t, service)
	w.register("a", first)
	if err := w.CheckName(t.Context(), "a"); !errors.Is(err, machine1.ErrMachineExists) {
		t.Errorf("while it lives: %v", err)
	}
	first.kill()
	if err := w.CheckName(t.Context(), "a"); err != nil {
		t.Errorf("after its death: %v", err)
	}
	w.wantEvent("-a")

	second := start(t, service)
	w.register("a", second)
	second.kill()
	third, err := w.Register(t.Context(), registrationOf("b", start(t, service)))
	if err != nil {
		t.Fatalf("a unit whose owner died: %v", err)
	}
	w.wantEvent("-a")
	w.wantEvent("+b")
	if third.Unit != service {
		t.Errorf("unit %q", third.Unit)
	}
}

// TestRestartedService is a unit that PID 1 has started again before we have
// heard of the end of its first run.
func TestRestartedService(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	service := newUnit(t)
	w.pid1.setState(service, "active")
	var last Machine
	for range 20 {
		leader := start(t, service)
		m, err := w.Register(t.Context(), registrationOf("a", leader))
		if err != nil {
			t.Fatal(err)
		}
		w.UnitEvent(unit.Event{Kind: unit.UnitChanged, Unit: service})
		if m.leader == last.leader {
			t.Fatal("same leader")
		}
		last = m
		leader.kill()
	}
}

// TestForeignUnit has a user without privileges register a process of his own
// in a service of the host, which he may then terminate and kill unasked.
func TestForeignUnit(t *testing.T) {
	t.Parallel()
	for _, subgroup := range []string{"", "payload"} {
		w := newWorld(t)
		service := newUnit(t, subgroup)
		w.pid1.setState(service, "active")
		sibling := start(t, filepath.Join(service, subgroup))
		for what, end := range map[string]func() error{
			"terminate": func() error { return w.Terminate(t.Context(), "mine") },
			"kill":      func() error { return w.Kill(t.Context(), "mine", "all", 9) },
		} {
			r := registrationOf("mine", start(t, filepath.Join(service, subgroup)))
			r.UID = 1000
			if m, err := w.Register(t.Context(), r); err != nil || m.OwnsUnit() || m.Unit != service {
				t.Fatalf("%s: owns %v, %v", what, m.OwnsUnit(), err)
			}
			w.wantEvent("+mine")
			if w.exists("unit:" + service) {
				t.Errorf("%s: there is a link", what)
			}
			again := idleWorldIn(t, w.dir)
			again.restore()
			if m := again.wantEvent("+mine").Machine; m.OwnsUnit() {
				t.Errorf("%s: owns it after a restart", what)
			}
			if err := end(); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			w.wantEvent("-mine")
		}
		if got := w.pid1.called(""); got != nil || !sibling.alive() {
			t.Errorf("PID 1 was told %q", got)
		}
	}
}

func TestMayOwn(t *testing.T) {
	t.Parallel()
	alice := Machine{Name: "a", UID: 1000, Unit: "x.service"}
	tests := map[string]struct {
		m      Machine
		cgroup string
		want   bool
	}{
		"root, a service":         {Machine{Name: "a", Unit: "x.service"}, "/system.slice/x.service", true},
		"a user, a service":       {alice, "/system.slice/x.service", false},
		"a user, his session":     {alice, "/user.slice/user-1000.slice/session-1.scope", true},
		"a user, another's":       {alice, "/user.slice/user-10000.slice/session-2.scope", false},
		"a user, his own machine": {Machine{Name: "a", UID: 1000, Unit: "machine-a.scope"}, "/machine.slice/machine-a.scope", true},
	}
	for name, tt := range tests {
		if got := (&Manager{}).mayOwn(tt.m, tt.cgroup); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestUnregister(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	service := newUnit(t)
	leader := start(t, service)
	for range 10 {
		w.register("a", leader)
		if err := w.Unregister(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		w.wantEvent("-a")
	}
	if calls := w.pid1.called(""); calls != nil || !leader.alive() {
		t.Errorf("PID 1 was told %q", calls)
	}
	if err := w.Unregister(t.Context(), "a"); !errors.Is(err, machine1.ErrNoSuchMachine) || err.Error() != "No machine 'a' known" {
		t.Errorf("unknown: %v", err)
	}
	if err := w.Unregister(t.Context(), machine1.Host); err != nil {
		t.Errorf("the host: %v", err)
	}
	w.get(machine1.Host)
}

// TestFullStateDirectory refuses what a restart would lose.
func TestFullStateDirectory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	service := newUnit(t)
	if err := os.RemoveAll(w.dir); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Register(t.Context(), registrationOf("a", start(t, service))); err == nil {
		t.Error("registered without a file")
	}
	w.wantNoEvent()
}

func TestHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	host := w.get(machine1.Host)
	if host.Class != machine1.ClassHost || host.Unit != "-.slice" || host.RootDirectory != "/" || host.Leader.PID() != 1 ||
		host.ID[0] != 0x01 || host.State() != machine1.StateRunning || host.OwnsUnit() || host.Realtime == 0 {
		t.Errorf("got %+v", host)
	}
	if m, ok := w.View().ByLeader(1, 0); ok {
		t.Errorf("PID 1 leads %q", m.Name)
	}
	if got := entriesOf(t, w.dir); got != nil {
		t.Errorf("directory has %q", got)
	}
	w.UnitEvent(unit.Event{Kind: unit.Reloaded})
	w.wantNoEvent()
}

func TestNewNeedsAMachineID(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{"none": "", "not yet": "uninitialized\n", "short": "abcd\n"} {
		root := t.TempDir()
		if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "etc/machine-id"), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := New(Config{Dir: t.TempDir(), Root: root, Emit: ignore}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
