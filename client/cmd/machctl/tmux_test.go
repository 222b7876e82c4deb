package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/machd/machd/client/internal/machine1test"
	"github.com/machd/machd/pkg/machd"
)

// A pane is a terminal of tmux, which shows what a person would see.
type pane struct {
	t      *testing.T
	socket string
}

// openPane runs a shell's line with machctl in it on a terminal of this size.
func openPane(t *testing.T, w *machine1test.World, columns, rows int, env, line string) pane {
	t.Helper()
	p := pane{t, filepath.Join(t.TempDir(), "tmux")}
	t.Cleanup(func() { exec.Command("tmux", "-S", p.socket, "kill-server").Run() })
	cmd := exec.Command("tmux", "-u", "-S", p.socket, "-f", "/dev/null", "new-session", "-d", "-x", fmt.Sprint(columns), "-y", fmt.Sprint(rows),
		env+" "+line+"; echo \"[exit $?]\"; exec cat")
	cmd.Env = append(command(w).Env, "TERM=xterm", "LC_ALL=C.UTF-8", "SHELL=/bin/sh")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tmux: %v\n%s", err, out)
	}
	return p
}

func (p pane) tmux(args ...string) string {
	p.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-u", "-S", p.socket}, args...)...).CombinedOutput()
	if err != nil {
		p.t.Fatalf("tmux %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// await waits until the screen satisfies good, and returns it.
func (p pane) await(what string, good func(screen string) bool) string {
	p.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		screen := strings.TrimRight(p.tmux("capture-pane", "-p"), "\n")
		switch {
		case good(screen):
			return screen
		case time.Now().After(deadline):
			p.t.Fatalf("waited for %s; the screen shows\n%s", what, screen)
		}
	}
}

func (p pane) awaitExit(code int) string {
	p.t.Helper()
	return p.await("the end", func(screen string) bool { return strings.Contains(screen, fmt.Sprintf("[exit %d]", code)) })
}

// A line that does not fit would go on in the next one.
func TestListsFitTerminalsOfAnyWidth(t *testing.T) {
	t.Parallel()
	w := machine1test.New(t)
	m := machine1test.C8NS()
	m.Name = "a-machine-with-a-long-name"
	w.Add(m)
	for _, columns := range []int{20, 45, 80, 120} {
		for _, name := range []string{"machctl", machinectl} {
			for env, ellipsis := range map[string]string{"LC_ALL=C.UTF-8": "…", "LC_ALL=C": "...", "LC_ALL=C.UTF-8 NO_COLOR=1": "…", "LC_ALL=C.UTF-8 TERM=dumb": "…", "LC_ALL=ja_JP.UTF-8": "...", "env -u TERM -u HOME LC_ALL=C.UTF-8": "…"} {
				screen := openPane(t, w, columns, 20, env, name+" list").awaitExit(0)
				lines := strings.Split(screen, "\n")
				if len(lines) != 5 || !strings.Contains(lines[3], "1 machine") || lines[2] != "" {
					t.Errorf("%s %s at %d columns is not a header, a machine and a footer:\n%s", env, name, columns, screen)
				}
				if columns <= 45 && !strings.Contains(screen, ellipsis) {
					t.Errorf("%s %s at %d columns cuts nothing off by %q:\n%s", env, name, columns, ellipsis, screen)
				}
			}
		}
	}
}

// Some characters count for two columns there.
func TestListsOfEastAsiaOnVeryNarrowTerminals(t *testing.T) {
	t.Parallel()
	w := machine1test.New(t)
	w.Add(machine1test.C8NS())
	for _, line := range []string{"machctl list", "machctl list -o wide", "machctl list-images", machinectl + " list"} {
		openPane(t, w, 10, 40, "LANG=ja_JP.UTF-8 LC_ALL=", line).awaitExit(0)
	}
}

// Who makes the terminal smaller or larger sees all of it drawn again.
func TestTopFollowsTheTerminal(t *testing.T) {
	t.Parallel()
	w := machine1test.New(t)
	for i := range 12 {
		m := machine1test.C8NS()
		m.Name = fmt.Sprintf("machine-%02d", i)
		w.Add(m)
		tasks := uint64(100 - i)
		w.SetUsage(m.Name, machd.Usage{Tasks: &tasks})
	}
	p := openPane(t, w, 100, 24, "", "machctl top --delay 0.5s")
	whole := func(screen string) bool {
		return strings.Contains(screen, "machine-00") && strings.Contains(screen, "machine-11")
	}
	p.await("twelve machines", whole)
	for _, size := range [][2]string{{"45", "10"}, {"20", "8"}} {
		p.tmux("resize-window", "-x", size[0], "-y", size[1])
		p.await("fewer of them", func(screen string) bool {
			return strings.Contains(screen, "machin") && !strings.Contains(screen, "machine-11")
		})
	}
	p.tmux("resize-window", "-x", "120", "-y", "30")
	p.await("twelve again", whole)
	p.tmux("send-keys", "q")
	p.awaitExit(0)
}
