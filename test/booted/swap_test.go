package booted

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/test/terminal"
)

// A scene is machines of every kind, with somebody at work in one of them.
type scene struct {
	w      *watcher
	shell  *terminal.Terminal
	rounds int
	before map[string]map[string]any
}

// newScene has a container in a service of its own, one started by hand in a
// scope, and a process registered in its service. The names begin with prefix.
func newScene(t *testing.T, prefix string) *scene {
	t.Helper()
	s := &scene{w: watch(t)}
	eventually(t, "the machines of earlier tests are gone", func() error {
		if left := s.w.list(t); len(left) > 0 {
			return fmt.Errorf("there are %q", left)
		}
		return nil
	})
	startGuest(t, prefix+"-service")
	startByHand(t, s.w, prefix+"-scope")
	register(t, s.w, prefix+"-process", startProcess(t, prefix))
	s.shell = openTerminal(t, "machinectl", "shell", prefix+"-service")
	talk(t, s.shell, [2]string{`root@\S+:~# `, ""})
	s.remember(t)
	return s
}

func (s *scene) remember(t *testing.T) {
	t.Helper()
	s.before = s.w.snapshot(t)
	s.w.seen(t, "MachineNew")
}

// wantUnchanged checks that nothing was lost, invented or changed, and that the
// shell goes on. after says what has happened.
func (s *scene) wantUnchanged(t *testing.T, after string) {
	t.Helper()
	if diff := cmp.Diff(s.before, s.w.snapshot(t)); diff != "" {
		t.Fatalf("%s: machines (-before +after):\n%s", after, diff)
	}
	if gone := s.w.seen(t, "MachineRemoved"); len(gone) > 0 {
		t.Errorf("%s: it was said that %q are gone", after, gone)
	}
	s.rounds++
	talk(t, s.shell, [2]string{"", fmt.Sprintf("echo round $((%d + %d))\n", s.rounds, s.rounds)},
		[2]string{fmt.Sprintf(`\nround %d\n`, 2*s.rounds), ""})
}

// wantFiles checks that there is one state file for each machine, and nothing
// but links besides.
func (s *scene) wantFiles(t *testing.T) {
	t.Helper()
	files := stateFiles(t)
	maps.DeleteFunc(files, func(_, target string) bool { return target != "" })
	if diff := cmp.Diff(slices.Sorted(maps.Keys(s.before)), slices.Sorted(maps.Keys(files))); diff != "" {
		t.Errorf("state files (-machines +files):\n%s", diff)
	}
}

// leave ends the shell as a user does.
func (s *scene) leave(t *testing.T) {
	t.Helper()
	must(t, s.shell.Type("exit\n"))
	must(t, s.shell.Wait())
}

func TestMachdSwapKeepsEverything(t *testing.T) {
	useStock(t)
	failed := failures()
	s := newScene(t, "swap")
	const swaps = 10
	for i := range swaps / 2 {
		useMachd(t)
		s.wantUnchanged(t, fmt.Sprintf("swap %d to machd", i))
		s.wantFiles(t)
		useStock(t)
		s.wantUnchanged(t, fmt.Sprintf("swap %d to systemd-machined", i))
		s.wantFiles(t)
	}
	s.leave(t)
	if failures() > failed {
		t.Error("machd did not end well")
	}
	t.Logf("survived: %d swaps with %d machines and a shell, nothing lost", swaps, len(s.before))
}

// failures counts how often machd failed, by PID 1's account.
func failures() int {
	out, _ := exec.Command("journalctl", "-q", "-o", "cat", "-u", "machd.service", "-g", "Failed with result").Output()
	return bytes.Count(out, []byte("\n"))
}

// PID 1 refuses to load two units with one bus name, so a failed machd must not
// stay loaded.
func TestMachdFailedGivesWay(t *testing.T) {
	const dropIn = "/run/systemd/system/machd.service.d/test.conf"
	must(t, os.MkdirAll(filepath.Dir(dropIn), 0o755))
	must(t, os.WriteFile(dropIn, []byte("[Service]\nRestart=no\n"), 0o644))
	run(t, "systemctl", "daemon-reload")
	t.Cleanup(func() {
		os.RemoveAll(filepath.Dir(dropIn))
		run(t, "systemctl", "daemon-reload")
	})
	watch(t).kill(t)
	eventually(t, "machd fails", unitIs(t, "machd.service", "failed"))
	useStock(t)
}

// systemd-machined ends a machine whose leader is dead when it starts, machd
// does not: another process of it may be the one that counts.
func TestMachdSwapKeepsWhatOutlivesItsLeader(t *testing.T) {
	useStock(t)
	w := watch(t)
	startOutlived(t, w, "swap-outlived")
	before := w.snapshot(t)
	for range 3 {
		useMachd(t) // the second and third time a restart
		after := w.snapshot(t)
		if diff := cmp.Diff(before, after, ignoreLeader); diff != "" {
			t.Fatalf("machines (-before +after):\n%s", diff)
		}
	}
	run(t, "machinectl", "terminate", "swap-outlived")
	w.await(t, "MachineRemoved", "swap-outlived")
}

// ignoreLeader leaves out the number of a dead process: no daemon knows it
// after its start.
var ignoreLeader = cmp.FilterPath(func(p cmp.Path) bool {
	key, ok := p.Last().(cmp.MapIndex)
	return ok && key.Key().String() == "Leader"
}, cmp.Ignore())

// A machine whose end nobody saw is gone, whoever starts next.
func TestMachdSwapForgetsTheDead(t *testing.T) {
	for i, next := range []func(*testing.T){useMachd, useStock, useMachd} {
		w := watch(t)
		guest := fmt.Sprintf("swap-dead-%d", i) // the one before may have its directory still
		startByHand(t, w, guest)
		register(t, w, "swap-dead-process", startProcess(t, "swap-dead"))
		leader, scope := w.properties(t, guest)["Leader"], w.properties(t, guest)["Unit"].(string)
		// nspawn of 262 unregisters over the socket, which would start machd.
		run(t, "systemctl", "stop", theService, "machd.socket")
		run(t, "systemctl", "stop", "swap-dead-process.service")
		run(t, "kill", "-9", fmt.Sprint(leader))
		eventually(t, "the scope ends", unitIs(t, scope, "inactive"))
		observe(t, "systemctl", "reset-failed", theService) // which PID 1 starts so often, and then no more
		next(t)
		if got := w.list(t); len(got) > 0 {
			t.Errorf("there are still %q", got)
		}
		if files := stateFiles(t); len(files) > 0 {
			t.Errorf("there are still the files %v", files)
		}
	}
}

func TestRestartKeepsEverything(t *testing.T) {
	s := newScene(t, "restart")
	for i := range 3 {
		observe(t, "systemctl", "reset-failed", theService)
		run(t, "systemctl", "restart", theService)
		s.wantUnchanged(t, fmt.Sprintf("restart %d", i))
		s.wantFiles(t)
	}
	s.leave(t)
}

// While PID 1 reloads, its signals tell of units that come and go.
func TestReloadOfPID1KeepsEverything(t *testing.T) {
	s := newScene(t, "reload")
	daemon := pid(t)
	for _, verb := range []string{"daemon-reload", "daemon-reexec", "daemon-reload", "daemon-reexec"} {
		run(t, "systemctl", verb)
		s.wantUnchanged(t, verb)
		s.wantFiles(t)
	}
	if now := pid(t); now != daemon {
		t.Errorf("the daemon is process %d, was %d", now, daemon)
	}
	// It still hears PID 1.
	run(t, "systemctl", "stop", "reload-process.service")
	s.w.await(t, "MachineRemoved", "reload-process")
	s.leave(t)
}

func TestKillKeepsEverything(t *testing.T) {
	s := newScene(t, "kill")
	for i := range 3 {
		// PID 1 starts systemd-machined five times in ten seconds, then no more.
		observe(t, "systemctl", "reset-failed", theService)
		s.w.kill(t)
		s.wantUnchanged(t, fmt.Sprintf("kill %d", i))
		s.wantFiles(t)
	}
	s.leave(t)
}
