package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machd"
)

// newFiles returns a host with files only, on which all is well.
func newFiles(t testing.TB) *world {
	t.Helper()
	w := &world{units: &fakeUnits{}, paths: scratchPaths(t)}
	w.paths.Processes = t.TempDir()
	w.doctor = newDoctor(w, nil)
	return w
}

// fix mends what the check called name finds, and fails if it is found again.
func (w *world) fix(t testing.TB, name string) {
	t.Helper()
	found, err := w.doctor.Diagnose(t.Context(), "", machd.DiagnoseOptions{Fix: true})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(found, func(f machd.Finding) bool { return f.Check == name && f.Fixed }) {
		t.Errorf("nothing was fixed: %+v", found)
	}
	wantWell(t, w.look(t, "", name))
}

func wantSafe(t testing.TB, f machd.Finding, safe bool) {
	t.Helper()
	if f.Safe != safe {
		t.Errorf("%q is safe to fix: %t, want %t", f.What, f.Safe, safe)
	}
}

func TestStateFiles(t *testing.T) {
	t.Parallel()
	w := newFiles(t)
	states := w.paths.States
	self := strconv.Itoa(os.Getpid())
	w.machines = []machine.Machine{{Name: "here"}}
	write(t, states+"/here", "NAME=here\nLEADER="+self+"\n")
	if err := os.Symlink("here", states+"/unit:here.scope"); err != nil {
		t.Fatal(err)
	}
	write(t, states+"/.#here123", "NAME=he")
	wantWell(t, w.look(t, "", "state"))

	write(t, states+"/dead", "NAME=dead\nLEADER=4194300\n") // above the largest PID that Linux gives on most hosts
	write(t, states+"/lives", "NAME=lives\nLEADER="+self+"\n")
	if err := os.Symlink("dead", states+"/unit:dead.scope"); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(states+"/.#here123", old, old); err != nil {
		t.Fatal(err)
	}
	found := w.look(t, "", "state")
	wantSafe(t, wantFinding(t, found, "dead has a state file, and there is no such machine", "rm "+states+"/dead"), true)
	wantSafe(t, wantFinding(t, found, "unit:dead.scope is to a machine that there is not"), true)
	wantSafe(t, wantFinding(t, found, ".#here123 was left"), true)
	wantSafe(t, wantFinding(t, found, "lives has a state file and is not registered", self+" lives"), false)
	if len(found) != 4 {
		t.Errorf("found %+v", found)
	}
	if err := os.Remove(states + "/lives"); err != nil {
		t.Fatal(err)
	}
	w.fix(t, "state")
	if left, _ := filepath.Glob(states + "/*"); len(left) != 2 {
		t.Errorf("left are %q", left)
	}
}

// The number of a dead leader may be another process's by now.
func TestStateFileOfReusedPID(t *testing.T) {
	t.Parallel()
	w := newFiles(t)
	self, err := proc.Open(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	write(t, w.paths.States+"/dead", fmt.Sprintf("NAME=dead\nLEADER=%d\nLEADER_PIDFDID=%d\n", os.Getpid(), self.ID()+1))
	wantSafe(t, wantFinding(t, w.look(t, "", "state"), "dead has a state file, and there is no such machine"), true)
}

func TestScopes(t *testing.T) {
	t.Parallel()
	w := newFiles(t)
	w.machines = []machine.Machine{{Name: "here", Unit: "machine-here.scope"}}
	w.units.active = []string{"machine-here.scope"}
	wantWell(t, w.look(t, "", "scope"))
	w.units.active = append(w.units.active, "machine-stale.scope", "machine-busy.scope")
	w.units.busy = map[string]bool{"machine-busy.scope": true}
	found := w.look(t, "", "scope")
	wantSafe(t, wantFinding(t, found, "machine-stale.scope is active and has no processes", "systemctl stop machine-stale.scope"), true)
	wantSafe(t, wantFinding(t, found, "machine-busy.scope has processes and belongs to no machine"), false)
	w.units.active = w.units.active[:2]
	w.fix(t, "scope")
	if !slices.Equal(w.units.stopped, []string{"machine-stale.scope"}) {
		t.Errorf("stopped were %q", w.units.stopped)
	}
}

// process adds one to a host of files.
func (w *world) process(t testing.TB, pid int, comm string, open ...string) {
	t.Helper()
	dir := fmt.Sprintf("%s/%d", w.paths.Processes, pid)
	write(t, dir+"/comm", comm+"\n")
	write(t, dir+"/fd/none", "")
	for i, path := range open {
		if err := os.Symlink(path, fmt.Sprintf("%s/fd/%d", dir, i)); err != nil {
			t.Fatal(err)
		}
	}
}

// lock locks a file as users of images do, until the test ends.
func lock(t testing.TB, path string) {
	t.Helper()
	write(t, path, "")
	fd, err := openLock(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
		t.Fatal(err)
	}
}

func TestLocks(t *testing.T) {
	t.Parallel()
	w := newFiles(t)
	self, err := proc.Open(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	w.machines = []machine.Machine{{Name: "here", Supervisor: self}}
	beside, global := w.paths.Images[0]+"/.#here.lck", w.paths.Locks+"/inode-1:2"
	lock(t, beside)
	lock(t, global)
	w.process(t, os.Getpid(), nspawn, beside, global)
	wantWell(t, w.look(t, "", "lock"))

	stray, dead := w.paths.Locks+"/inode-3:4", w.paths.Images[0]+"/.#dead.lck"
	lock(t, stray)
	w.process(t, 4194301, "sleep", stray)
	idle := w.paths.Locks + "/name-idle"
	lock(t, idle)
	w.process(t, 4194302, nspawn, idle)
	write(t, dead, "")
	found := w.look(t, "", "lock")
	wantSafe(t, wantFinding(t, found, "process 4194301 (sleep) holds the lock inode-3:4", "kill 4194301"), false)
	wantSafe(t, wantFinding(t, found, "process 4194302 (systemd-nspawn) holds the lock name-idle"), false)
	wantSafe(t, wantFinding(t, found, ".#dead.lck is held by nobody"), true)
	if len(found) != 3 {
		t.Errorf("found %+v", found)
	}
	for _, pid := range []string{"4194301", "4194302"} {
		if err := os.RemoveAll(w.paths.Processes + "/" + pid); err != nil {
			t.Fatal(err)
		}
	}
	w.fix(t, "lock")
	if _, err := os.Lstat(dead); err == nil {
		t.Error("the file is still there")
	}
}

// A machine that has just been registered has a leader that is no init yet.
func TestLockOfYoungLeader(t *testing.T) {
	t.Parallel()
	w := newFiles(t)
	leader := newBox(t, "").leader
	w.machines = []machine.Machine{{Name: "here", Leader: leader}}
	path := w.paths.Images[0] + "/.#here.lck"
	lock(t, path)
	w.process(t, leader.PID(), nspawn, path)
	wantWell(t, w.look(t, "", "lock"))
}

// Who is not registered yet is no stranger if he soon is; one who stays is.
func TestStrangersAreLookedAtAgain(t *testing.T) {
	t.Parallel()
	w := newFiles(t)
	self, err := proc.Open(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	path := w.paths.Images[0] + "/.#here.lck"
	lock(t, path)
	w.process(t, os.Getpid(), nspawn, path)
	w.units.active, w.units.busy = []string{"machine-here.scope"}, map[string]bool{"machine-here.scope": true}
	for _, check := range []string{"lock", "scope"} {
		var asked atomic.Int32
		w.doctor.patience = time.Hour
		w.doctor.cfg.Machines = func() []machine.Machine {
			if asked.Add(1) <= 3 {
				return nil
			}
			return []machine.Machine{{Name: "here", Unit: "machine-here.scope", Supervisor: self}}
		}
		wantWell(t, w.look(t, "", check))

		w.doctor.patience = 2 * patiencePause
		w.doctor.cfg.Machines = func() []machine.Machine { asked.Add(1); return nil }
		asked.Store(0)
		if found := w.look(t, "", check); len(found) != 1 || found[0].Level != machd.LevelWarning {
			t.Errorf("%s: found %+v", check, found)
		}
		if n := asked.Load(); n < 3 {
			t.Errorf("%s: machines were looked at %d times", check, n)
		}
	}
}

// What can be mended keeps nobody waiting.
func TestDeadLocksAreToldAtOnce(t *testing.T) {
	t.Parallel()
	w := newFiles(t)
	w.doctor.patience = time.Hour
	write(t, w.paths.Images[0]+"/.#dead.lck", "")
	wantSafe(t, wantFinding(t, w.look(t, "", "lock"), ".#dead.lck is held by nobody"), true)
}

func TestExports(t *testing.T) {
	t.Parallel()
	w := newFiles(t)
	w.doctor.startTime = 0
	mount := func(path string) {
		t.Helper()
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("tmpfs", path, "tmpfs", 0, ""); err != nil {
			t.Fatalf("cannot mount, which needs root: %v", err)
		}
		t.Cleanup(func() { unix.Unmount(path, unix.MNT_DETACH) })
	}
	w.machines = []machine.Machine{{Name: "here"}}
	mount(w.paths.Nspawn + "/unix-export/here")
	if err := os.MkdirAll(w.paths.Nspawn+"/unix-export/empty", 0o755); err != nil {
		t.Fatal(err)
	}
	wantWell(t, w.look(t, "", "export"))

	old, young := w.paths.Nspawn+"/unix-export/old", w.paths.Nspawn+"/new/unix-export"
	mount(old)
	mount(young)
	found := w.look(t, "", "export")
	wantSafe(t, wantFinding(t, found, old+" is still mounted for old", "umount -l "+old+" && rmdir "+old), true)
	wantSafe(t, wantFinding(t, found, young+" is still mounted for new"), true)

	// A systemd-nspawn that we know nothing of may need it.
	w.process(t, 4194301, nspawn)
	wantSafe(t, wantFinding(t, w.look(t, "", "export"), old, "process 4194301 (systemd-nspawn)"), false)
	if err := os.RemoveAll(w.paths.Processes + "/4194301"); err != nil {
		t.Fatal(err)
	}
	// And so may one that has just begun, and is not there yet.
	w.doctor.startTime = time.Hour
	wantSafe(t, wantFinding(t, w.look(t, "", "export"), old), false)
	w.doctor.startTime = 0

	w.fix(t, "export")
	if _, err := os.Lstat(old); err == nil {
		t.Error("the directory is still there")
	}
	if _, mounted := mountAge(w.paths.Nspawn + "/unix-export/here"); !mounted {
		t.Error("the mount of a machine was removed")
	}
}

func TestMachinesThatStartWithTheHost(t *testing.T) {
	t.Parallel()
	w := newFiles(t)
	enable := func(template, name string) {
		t.Helper()
		dir := w.paths.Units + "/machines.target.wants"
		unit := strings.Replace(template, "@", "@"+name, 1)
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.Symlink("/usr/lib/systemd/system/"+template, dir+"/"+unit)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, w.paths.Images[0]+"/here/etc/hostname", "here")
	enable("machine@.service", "here")
	enable("machine@.service", "elsewhere") // whose command says where
	write(t, w.paths.Units+"/systemd-nspawn@elsewhere.service.d/mine.conf", "[Service]\nExecStart=\nExecStart=systemd-nspawn --directory=/srv/x\n")
	wantWell(t, w.look(t, "", "enabled"))

	enable("machine@.service", "gone")
	enable("systemd-nspawn@.service", "gone")
	write(t, w.paths.Units+"/systemd-nspawn@gone.service.d/50-machd.conf", "[Service]\nMemoryMax=300M\n")
	found := w.look(t, "", "enabled")
	f := wantFinding(t, found, "machine@gone.service and systemd-nspawn@gone.service would start with the host, and there is no image gone",
		"systemctl disable machine@gone.service systemd-nspawn@gone.service")
	wantSafe(t, f, false)
	if f.Level != machd.LevelWarning || f.Subject != "gone" || len(found) != 1 {
		t.Errorf("found %+v", found)
	}
}
