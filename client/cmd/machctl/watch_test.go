package main

import (
	"bufio"
	"testing"

	"github.com/machd/machd/client/internal/machine1test"
)

func named(name string) machine1test.Machine {
	m := machine1test.C8NS()
	m.Name = name
	return m
}

func TestListIsDrawnAgainOnATerminal(t *testing.T) {
	t.Parallel()
	w := machine1test.New(t)
	w.Add(named("first"))
	tm := runOnTerminal(t, w, 80, "list", "--watch")
	tm.await("first")
	tm.await("q leaves")
	w.Add(named("second"))
	tm.await("second")
	w.Remove("first")
	tm.await("1 machine listed.")
	tm.typed("q")
	tm.exits(0)
	tm.await("\x1b[?1049l") // the other screen is left
}

func TestStatusIsDrawnAgainOnATerminal(t *testing.T) {
	t.Parallel()
	w := machine1test.New(t)
	w.Add(named("web"))
	tm := runOnTerminal(t, w, 80, "status", "web", "--watch", "-n", "0")
	tm.await("192.168.88.27")
	w.Remove("web")
	tm.await("No machine 'web' known")
	w.Add(named("web"))
	tm.typed("\x03")
	tm.exits(0)
}

// What nobody tells of any more is not shown as if it were so still.
func TestWatchingEndsWithTheBus(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"list", "--watch"}, {"status", "web", "--watch", "-n", "0"}} {
		w := machine1test.New(t)
		w.Add(named("web"))
		tm := runOnTerminal(t, w, 80, args...)
		tm.await("q leaves")
		w.StopBus()
		tm.await("machctl: ")
		tm.exits(exitUnavailable)
	}
}

func TestListIsPrintedAgainForPrograms(t *testing.T) {
	t.Parallel()
	w := machine1test.New(t)
	cmd := command(w, "list", "--watch", "--json", "--columns", "name")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	lines := bufio.NewScanner(out)
	await := func(want string) {
		t.Helper()
		for lines.Scan() {
			if lines.Text() == want {
				return
			}
		}
		t.Fatalf("no line %s: %v", want, lines.Err())
	}
	await("[]")
	w.Add(named("web"))
	await(`[{"name":"web"}]`)
	w.Remove("web")
	await("[]")
}
