package machine

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/pkg/machine1"
)

// leaving is a state directory that an earlier daemon left.
type leaving struct {
	t   *testing.T
	dir string
}

func (l leaving) file(name, format string, args ...any) {
	l.t.Helper()
	text := "# This is private data. Do not parse.\nNAME=" + name + "\n" + fmt.Sprintf(format, args...)
	if err := os.WriteFile(filepath.Join(l.dir, name), []byte(text), 0o644); err != nil {
		l.t.Fatal(err)
	}
}

func (l leaving) link(unit, name string) {
	l.t.Helper()
	if err := os.Symlink(name, filepath.Join(l.dir, "unit:"+unit)); err != nil {
		l.t.Fatal(err)
	}
}

// lines257 and lines262 are what both say of a container of which nothing
// else is known.
func lines257(unit string, pid int) string {
	return fmt.Sprintf("SCOPE=%s\nLEADER=%d\nCLASS=container\nREALTIME=17\nMONOTONIC=4\n", strings.ReplaceAll(unit, `\`, `\\`), pid)
}

func lines262(unit string, pid int, id uint64) string {
	return fmt.Sprintf("UID=0\nSCOPE=\"%s\"\nLEADER=%d\nLEADER_PIDFDID=%d\nCLASS=container\nREALTIME=17\nMONOTONIC=4\nVSOCK_CID=4294967295\n",
		strings.ReplaceAll(unit, `\`, `\\`), pid, id)
}

func idOf(p *process) uint64 {
	fd := p.open()
	defer fd.Close()
	return fd.ID()
}

func (w *world) restore() {
	w.t.Helper()
	if err := w.Restore(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// machines returns the names of all machines but the host.
func (w *world) machines() []string {
	var names []string
	for m := range w.View().All() {
		if m.Class != machine1.ClassHost {
			names = append(names, m.Name)
		}
	}
	return names
}

func TestRestoreAdopts(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		subgroup string // where the leader is
		leave    func(l leaving, unit string, p *process)
		want     string // subgroup
		owns     bool
	}{
		"a service of 257": {
			"payload",
			func(l leaving, unit string, p *process) {
				l.file("a", "%s", lines257(unit, p.pid()))
				l.link(unit, "a")
			},
			"", true,
		},
		"a service of 262, which has its leader in payload from the start": {
			"payload/init.scope",
			func(l leaving, unit string, p *process) {
				l.file("a", "%s", lines262(unit, p.pid(), idOf(p)))
			},
			"payload", false,
		},
		"a scope of 262, which gets its payload later": {
			"payload/init.scope",
			func(l leaving, unit string, p *process) {
				l.file("a", "%s", lines262(unit, p.pid(), idOf(p)))
				l.link(unit, "a")
			},
			"", true,
		},
		"a machine of 262 below a user's service manager": {
			"app.slice/x.scope",
			func(l leaving, unit string, p *process) {
				l.file("a", "%s", lines262(unit, p.pid(), idOf(p)))
			},
			"app.slice/x.scope", false,
		},
		"our own, with a subgroup": {
			"other",
			func(l leaving, unit string, p *process) {
				l.file("a", "%sSUBGROUP=payload\n", lines262(unit, p.pid(), idOf(p)))
			},
			"payload", false,
		},
		"a file without a unit": {
			"payload",
			func(l leaving, unit string, p *process) {
				l.file("a", "LEADER=%d\nCLASS=container\nREALTIME=17\nMONOTONIC=4\n", p.pid())
			},
			"payload", false,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := leaving{t, t.TempDir()}
			unit := newUnit(t, tt.subgroup)
			leader := start(t, unit+"/"+tt.subgroup)
			tt.leave(l, unit, leader)

			w := newWorldIn(t, l.dir)
			w.restore()
			m := w.wantEvent("+a").Machine
			if m.Unit != unit || m.Subgroup != tt.want || m.OwnsUnit() != tt.owns || m.Realtime != 17 || m.Monotonic != 4 {
				t.Errorf("unit %q, subgroup %q, owns %v", m.Unit, m.Subgroup, m.OwnsUnit())
			}
			if w.exists("unit:"+unit) != tt.owns {
				t.Errorf("directory has %q", entriesOf(t, l.dir))
			}
			before := readFile(t, l.dir, "a")
			again := newWorldIn(t, l.dir)
			again.restore()
			again.wantEvent("+a")
			if diff := cmp.Diff(readFile(t, l.dir, "a"), before); diff != "" {
				t.Errorf("second restart + first -\n%s", diff)
			}
			leader.kill()
			w.wantEvent("-a")
		})
	}
}

func readFile(t *testing.T, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestRestoreDrops has files of which nothing may come but their removal.
func TestRestoreDrops(t *testing.T) {
	t.Parallel()
	unit := newUnit(t)
	stranger := start(t, unit)
	dead := start(t, unit)
	deadPID := dead.pid()
	dead.kill()

	tests := map[string]func(l leaving){
		"a dead leader, by 257": func(l leaving) { l.file("a", "%s", lines257(unit, deadPID)) },
		"a dead leader, by 262": func(l leaving) { l.file("a", "%s", lines262(unit, deadPID, 7)) },
		"a recycled PID, by its inode": func(l leaving) {
			l.file("a", "%s", lines262(unit, stranger.pid(), idOf(stranger)+1))
		},
		"a recycled PID, by its unit": func(l leaving) {
			l.file("a", "%s", lines257("other.service", stranger.pid()))
		},
		"PID 1 as leader":     func(l leaving) { l.file("a", "%s", lines257("init.scope", 1)) },
		"no leader":           func(l leaving) { l.file("a", "SCOPE=%s\nCLASS=container\n", unit) },
		"another name inside": func(l leaving) { l.file("a", "NAME=b\n%s", lines257(unit, stranger.pid())) },
		"an unknown class":    func(l leaving) { l.file("a", "%sCLASS=pod\n", lines257(unit, stranger.pid())) },
		"an empty file":       func(l leaving) { l.file("a", "") },
		"a binary file":       func(l leaving) { l.file("a", "\x00\xff") },
		"a huge file":         func(l leaving) { l.file("a", "%s", strings.Repeat("#\n", maxStateFile)) },
		"a scope that PID 1 does not know": func(l leaving) {
			l.file("a", "%s", lines262("machine-a.scope", deadPID, 7))
		},
	}
	for name, leave := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := leaving{t, t.TempDir()}
			leave(l)
			l.link(unit, "a")
			w := newWorldIn(t, l.dir)
			w.restore()
			w.wantNoEvent()
			if got := entriesOf(t, l.dir); got != nil || len(w.machines()) != 0 {
				t.Errorf("machines %q, directory has %q", w.machines(), got)
			}
			if w.pid1.called("stop") != nil || !stranger.alive() {
				t.Error("something was stopped")
			}
		})
	}
}

// TestRestoreKeepsAScopeWithoutItsLeader is a machine of Create whose unit is
// still active, or cannot be asked about.
func TestRestoreKeepsAScopeWithoutItsLeader(t *testing.T) {
	t.Parallel()
	dead := start(t, "")
	pid := dead.pid()
	dead.kill()
	l := leaving{t, t.TempDir()}
	l.file("a-b", "%s", lines262(`machine-a\x2db.scope`, pid, 7))
	l.link(`machine-a\x2db.scope`, "a-b")
	w := newWorldIn(t, l.dir)
	w.pid1.setState(`machine-a\x2db.scope`, "active")
	w.restore()
	w.wantEvent("+a-b")
	again := newWorldIn(t, l.dir)
	again.pid1.setTrouble(remote("org.freedesktop.DBus.Error.NoReply"))
	again.restore()
	if m := again.wantEvent("+a-b").Machine; m.Leader != nil || !m.OwnsUnit() {
		t.Errorf("got %+v", m)
	}
	again.pid1.setTrouble(nil)
	again.wantEvent("-a-b")
}

// TestRestoreKeepsWhatHasOnlyAnImpliedLeader is a machine that a short-lived
// command registered, before this daemon ran or the one before it.
func TestRestoreKeepsWhatHasOnlyAnImpliedLeader(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	service := newUnit(t)
	w.pid1.setState(service, "active")
	command := start(t, service)
	r := registrationOf("a", command)
	r.Implied = true
	if _, err := w.Register(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	restarted := func(state string) *world {
		t.Helper()
		next := newWorldIn(t, w.dir)
		next.pid1.setState(service, state)
		next.restore()
		return next
	}
	restarted("active").wantEvent("+a")
	command.kill()
	restarted("active").wantEvent("+a")
	again := restarted("active")
	if m := again.wantEvent("+a").Machine; m.Leader != nil || !m.OwnsUnit() {
		t.Errorf("got %+v", m)
	}
	again.pid1.setState(service, "inactive")
	again.UnitEvent(unit.Event{Kind: unit.UnitChanged, Unit: service})
	again.wantEvent("-a")
}

// TestRestoreDropsWithTheUnit is one whose unit ended while no daemon ran.
func TestRestoreDropsWithTheUnit(t *testing.T) {
	t.Parallel()
	l := leaving{t, t.TempDir()}
	service := newUnit(t)
	dead := start(t, service)
	pid := dead.pid()
	dead.kill()
	l.file("a", "%sLEADER_IMPLIED=1\n", lines262(service, pid, 7))
	l.link(service, "a")
	w := newWorldIn(t, l.dir)
	w.pid1.setState(service, "inactive")
	w.restore()
	w.wantNoEvent()
	if got := entriesOf(t, l.dir); got != nil {
		t.Errorf("directory has %q", got)
	}
}

// TestRestoreSettlesAJob ends the state opening of a machine whose job ended
// while no daemon ran.
func TestRestoreSettlesAJob(t *testing.T) {
	t.Parallel()
	l := leaving{t, t.TempDir()}
	unit := newUnit(t)
	leader := start(t, unit)
	l.file("a", "%sSCOPE_JOB=/org/freedesktop/systemd1/job/77\n", lines262(unit, leader.pid(), idOf(leader)))
	l.link(unit, "a")
	w := idleWorldIn(t, l.dir)
	w.restore()
	w.wantEvent("+a")
	if got := w.get("a").State(); got != machine1.StateOpening {
		t.Errorf("state %s", got)
	}
	if !w.check(t.Context(), "a") || w.get("a").State() != machine1.StateRunning {
		t.Errorf("state %s", w.get("a").State())
	}
}

func TestRestoreOfTheSupervisor(t *testing.T) {
	t.Parallel()
	unit := newUnit(t)
	supervisor := start(t, "")
	tests := map[string]struct {
		lines string
		want  bool
	}{
		"known by its inode": {fmt.Sprintf("SUPERVISOR=%d\nSUPERVISOR_PIDFDID=%d\n", supervisor.pid(), idOf(supervisor)), true},
		"a recycled PID":     {fmt.Sprintf("SUPERVISOR=%d\nSUPERVISOR_PIDFDID=%d\n", supervisor.pid(), idOf(supervisor)+1), false},
		"without inode":      {fmt.Sprintf("SUPERVISOR=%d\n", supervisor.pid()), false},
	}
	for name, tt := range tests {
		leader := start(t, unit)
		l := leaving{t, t.TempDir()}
		l.file("a", "%s%s", lines262(unit, leader.pid(), idOf(leader)), tt.lines)
		w := newWorldIn(t, l.dir)
		w.restore()
		if m := w.wantEvent("+a").Machine; (m.Supervisor != nil) != tt.want {
			t.Errorf("%s: supervisor %v", name, m.Supervisor)
		}
	}
}

// TestRestoreOfAWholeDirectory has everything at once that can be in one.
func TestRestoreOfAWholeDirectory(t *testing.T) {
	t.Parallel()
	l := leaving{t, t.TempDir()}
	one, two := newUnit(t), newUnit(t)
	owner, guest, other := start(t, one), start(t, one), start(t, two)
	l.file("guest", "%s", lines262(one, guest.pid(), idOf(guest)))
	l.file("owner", "%s", lines262(one, owner.pid(), idOf(owner)))
	l.file("other", "%s", lines257(two, other.pid()))
	l.file("twin", "%sSUBGROUP=x\n", lines262(two, other.pid(), idOf(other)))
	l.link(one, "owner")
	l.link(two, "gone")
	l.link("stale.service", "owner")
	l.file(".#owner123", "")
	l.file("not_a_name", "")
	l.file("a~", "")
	if err := os.Mkdir(filepath.Join(l.dir, "directory"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("owner", filepath.Join(l.dir, "symlink")); err != nil {
		t.Fatal(err)
	}
	w := newWorldIn(t, l.dir)
	w.restore()
	if diff := cmp.Diff(w.machines(), []string{"guest", "other", "owner"}); diff != "" {
		t.Errorf("machines: got - want +\n%s", diff)
	}
	want := []string{"a~", "directory", "guest", "not_a_name", "other", "owner", "symlink", "unit:" + one, "unit:" + two}
	slices.Sort(want)
	if diff := cmp.Diff(entriesOf(t, l.dir), want); diff != "" {
		t.Errorf("directory: got - want +\n%s", diff)
	}
	if !w.get("owner").OwnsUnit() || w.get("guest").OwnsUnit() || !w.get("other").OwnsUnit() {
		t.Error("wrong owner")
	}
	if target, _ := os.Readlink(filepath.Join(l.dir, "unit:"+two)); target != "other" {
		t.Errorf("link to %q", target)
	}
}

// TestRestart is a daemon that dies and is started again.
func TestRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := idleWorldIn(t, dir)
	service := newUnit(t, "payload")
	stays, below, ends := start(t, service), start(t, service+"/payload"), start(t, newUnit(t))
	before := []Machine{first.register("stays", stays), first.register("below", below)}
	first.register("ends", ends)
	ends.kill()

	saved := statOf(t, filepath.Join(dir, "stays"))
	second := newWorldIn(t, dir)
	second.restore()
	if !os.SameFile(saved, statOf(t, filepath.Join(dir, "stays"))) {
		t.Error("a file that is as it should be was written again")
	}
	for _, want := range before {
		got := second.wantEvent("+" + want.Name).Machine
		if diff := cmp.Diff(got, want, compareMachines); diff != "" {
			t.Errorf("got - want +\n%s", diff)
		}
	}
	second.wantNoEvent()
}

func statOf(t *testing.T, path string) os.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}
