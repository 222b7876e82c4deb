package machine

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// mountExport mounts what systemd-nspawn mounts for a container, and returns
// where.
func (w *world) mountExport(path string) string {
	w.t.Helper()
	path = filepath.Join(w.nspawnDir, path)
	if err := os.MkdirAll(path, 0o755); err != nil {
		w.t.Fatal(err)
	}
	err := unix.Mount("tmpfs", path, "tmpfs", 0, "")
	if errors.Is(err, unix.EPERM) {
		w.t.Skip("needs to mount")
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { unix.Unmount(path, unix.MNT_DETACH) })
	return path
}

func isMount(path string) bool {
	return isMountFrom(path, uint64(time.Now().Add(time.Hour).UnixMicro()))
}

// A nspawn that was killed leaves a mount that its next run is refused over.
func TestExportOfAKilledNspawn(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"unix-export/a", "a/unix-export"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			export, others := w.mountExport(at), w.mountExport("b/unix-export")
			leader, supervisor := start(t, newUnit(t)), start(t, "")
			r := registrationOf("a", leader)
			r.Service, r.Supervisor = nspawn, supervisor.open()
			w.mustRegister(r)
			supervisor.kill()
			leader.kill()
			w.wantEvent("-a")
			if _, err := os.Stat(export); !os.IsNotExist(err) || isMount(export) {
				t.Errorf("%s is still there: %v", export, err)
			}
			if !isMount(others) {
				t.Error("that of another container is gone")
			}
		})
	}
}

// mustRegister registers what r describes.
func (w *world) mustRegister(r Registration) {
	w.t.Helper()
	if _, err := w.Register(w.t.Context(), r); err != nil {
		w.t.Fatal(err)
	}
	w.wantEvent("+" + r.Name)
}

// Whatever somebody may still use stays mounted.
func TestExportStays(t *testing.T) {
	t.Parallel()
	for _, trial := range []struct {
		name       string
		service    string
		supervised bool // nspawn's process is known
		lives      bool // and lives
		later      bool // the mount is there after the registration only
	}{
		{"nspawn reboots the container", nspawn, true, true, false},
		{"nobody knows nspawn's process", nspawn, false, false, false},
		{"it is of the next run", nspawn, true, false, true},
		{"another program registered the machine", "test", true, false, false},
	} {
		t.Run(trial.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			mount := func() string { return w.mountExport("a/unix-export") }
			export := ""
			if !trial.later {
				export = mount()
			}
			leader, supervisor := start(t, newUnit(t)), start(t, "")
			r := registrationOf("a", leader)
			r.Service = trial.service
			if trial.supervised {
				r.Supervisor = supervisor.open()
			}
			w.mustRegister(r)
			if trial.later {
				time.Sleep(10 * time.Millisecond) // a file system's clock ticks that slowly
				export = mount()
			}
			if !trial.lives {
				supervisor.kill()
			}
			leader.kill()
			w.wantEvent("-a")
			if !isMount(export) {
				t.Error("it is gone")
			}
		})
	}
}

// No daemon may have run when nspawn was killed.
func TestExportIsRemovedAtTheNextStart(t *testing.T) {
	t.Parallel()
	l := leaving{t, t.TempDir()}
	leader, supervisor := start(t, ""), start(t, "")
	w := newWorldIn(t, l.dir)
	export := w.mountExport("unix-export/a")
	l.file("a", "%sSERVICE=systemd-nspawn\nSUPERVISOR=%d\nSUPERVISOR_PIDFDID=%d\nREALTIME=%d\n",
		lines262("a.service", leader.pid(), idOf(leader)), supervisor.pid(), idOf(supervisor), time.Now().UnixMicro())
	supervisor.kill()
	leader.kill()
	w.restore()
	if isMount(export) {
		t.Error("it is still there")
	}
}
