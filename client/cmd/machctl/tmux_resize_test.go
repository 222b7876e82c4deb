package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/creack/pty"

	"github.com/machd/machd/client/internal/columns"
	"github.com/machd/machd/client/internal/machine1test"
)

// openUnchangedPane is openPane for a line that ^C may end. The terminal is to
// have the same modes afterwards.
func openUnchangedPane(t *testing.T, w *machine1test.World, columns, rows int, env, line string) pane {
	t.Helper()
	return openPane(t, w, columns, rows, "export "+env+";",
		"trap : INT; before=$(stty -g); echo above; "+line+`; code=$?; [ "$(stty -g)" = "$before" ] || echo "the modes are others"; (exit $code)`)
}

// resize makes the terminal another size.
func (p pane) resize(columns, rows int) {
	p.t.Helper()
	p.tmux("resize-window", "-x", fmt.Sprint(columns), "-y", fmt.Sprint(rows))
}

// awaitLeft waits for the end of what openUnchangedPane runs.
func (p pane) awaitLeft(code int) string {
	p.t.Helper()
	screen := p.awaitExit(code)
	if strings.Contains(screen, "the modes are others") {
		p.t.Errorf("the terminal is not as it was:\n%s", screen)
	}
	return screen
}

// A terminal that becomes smaller makes two lines of one that does not fit any
// more. None of a bar stays where it was.
func TestBarsFollowTheTerminal(t *testing.T) {
	t.Parallel()
	for env, full := range map[string]string{"LC_ALL=C.UTF-8": "⣿", "LC_ALL=C": "#"} {
		w := worldWithImportd(t, "progress 0.42", "wait")
		p := openUnchangedPane(t, w, 80, 20, env, "seq 30; machctl pull-raw --verify=no http://s/disk.raw.xz")
		for _, width := range []int{80, 40, 20, 60, 25} {
			p.resize(width, 20)
			p.await(fmt.Sprintf("one bar in %d columns, with %s", width, env), func(screen string) bool {
				above, bar, _ := strings.Cut(screen, " 1)\n")
				if width == 20 && full == "#" { // too narrow for brackets and what is in them
					return bar == "disk  42%" && !strings.Contains(above, full)
				}
				room := width - columns.Of(bar)
				return strings.HasPrefix(bar, "disk ") && strings.HasSuffix(bar, " 42%") && !strings.Contains(bar, "\n") &&
					(room == 1 || room > 0 && width > 55) && strings.Contains(bar, full) && !strings.Contains(above, full)
			})
		}
		p.tmux("send-keys", "C-c")
		if screen := p.awaitLeft(130); strings.Contains(screen, full) {
			t.Errorf("there is still something of the bar:\n%s", screen)
		}
	}
}

// What is watched has the screen for itself, and gives it back.
func TestAWatchedListFollowsTheTerminal(t *testing.T) {
	t.Parallel()
	w := machine1test.New(t)
	for i := range 12 {
		w.Add(named(fmt.Sprintf("machine-%02d", i)))
	}
	p := openUnchangedPane(t, w, 100, 24, "LC_ALL=C.UTF-8", "machctl list --watch")
	shows := func(wants, others string) func(string) bool {
		return func(screen string) bool { return strings.Contains(screen, wants) && !strings.Contains(screen, others) }
	}
	p.await("all of it", shows("12 machines", "above"))
	p.resize(45, 10)
	p.await("what there is room for", shows("machine-00", "machine-11"))
	w.Add(named("another"))
	p.await("what is new", shows("another", "machine-11"))
	p.resize(20, 8)
	p.await("eight lines", func(screen string) bool {
		lines := strings.Split(screen, "\n")
		return len(lines) == 8 && strings.HasPrefix(lines[7], "q leaves")
	})
	p.resize(100, 24)
	p.await("all of it again", shows("13 machines", "above"))
	p.tmux("send-keys", "C-c")
	if screen := p.awaitLeft(0); !strings.HasPrefix(screen, "above\n[exit") {
		t.Errorf("the screen is not given back:\n%s", screen)
	}
}

// The terminal in the machine is as large as the one here, and ^C is for those in
// the machine.
func TestALoginFollowsTheTerminal(t *testing.T) {
	t.Parallel()
	w := machine1test.New(t)
	m := machine1test.C8NS()
	m.Terminal = func(slave *os.File) {
		keys := make([]byte, 64)
		for {
			io.WriteString(slave, "c8-ns login: ")
			if n, err := slave.Read(keys); err != nil || n == 0 {
				return
			}
			rows, columns, _ := pty.Getsize(slave)
			fmt.Fprintf(slave, "%d rows, %d columns\n", rows, columns)
		}
	}
	w.Add(m)
	p := openUnchangedPane(t, w, 80, 24, "LC_ALL=C.UTF-8", "machctl login c8-ns")
	p.await("the prompt", func(screen string) bool { return strings.HasSuffix(screen, "login:") })
	for _, size := range [][2]int{{40, 10}, {20, 8}, {120, 30}} {
		p.resize(size[0], size[1])
		p.await(fmt.Sprint(size), func(screen string) bool {
			p.tmux("send-keys", "Enter")
			return strings.Contains(screen, fmt.Sprintf("%d rows, %d columns", size[1], size[0]))
		})
	}
	p.tmux("send-keys", "C-c")
	p.await("^C there", func(screen string) bool { return strings.Contains(screen, "^C") })
	p.tmux("send-keys", "-H", "1d", "1d", "1d")
	p.awaitLeft(0)
}
