package main

import (
	"bufio"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/machd/machd/client/internal/machine1test"
	"github.com/machd/machd/pkg/machd"
)

// usage NAME [KEY=NUMBER,…]… says what a machine takes: each word is one answer
// of the daemon's.
func scriptUsage(ts *testscript.TestScript, _ bool, args []string) {
	var answers []machd.Usage
	for _, word := range args[1:] {
		u, err := parseUsage(word)
		ts.Check(err)
		answers = append(answers, u)
	}
	worldOf(ts).SetUsage(args[0], answers...)
}

func parseUsage(text string) (u machd.Usage, err error) {
	to := map[string]**uint64{"cpu": &u.CPU, "memory": &u.Memory, "tasks": &u.Tasks, "read": &u.IORead, "write": &u.IOWrite}
	for pair := range strings.SplitSeq(text, ",") {
		key, value, _ := strings.Cut(pair, "=")
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return u, err
		}
		*to[key] = &n
	}
	return u, nil
}

func mustUsage(t *testing.T, text string) machd.Usage {
	t.Helper()
	u, err := parseUsage(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestEventsAreShownAsTheyCome(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args []string
		want []string // patterns
	}{
		{[]string{"events"}, []string{
			`\S+ \S+ new     web`, `\S+ \S+ ready   web`, `\S+ \S+ failed  broken: unit b\.service failed\?`, `\S+ \S+ changed web`, `\S+ \S+ removed web`,
		}},
		{[]string{"events", "--all"}, []string{`\S+ \S+ present \.host`, `\S+ \S+ new     web`}},
		{[]string{"events", "--json"}, []string{
			`{"time":"\S+","event":"new","machine":"web","unit":null,"reason":null}`, `{"time":"\S+","event":"ready","machine":"web",.*}`,
			`{"time":"\S+","event":"failed","machine":"broken","unit":"b.service","reason":"unit b.service failed\\u001b"}`,
			`{"time":"\S+","event":"changed","machine":"web",.*}`,
			`{"time":"\S+","event":"removed","machine":"web",.*}`,
		}},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			t.Parallel()
			w := machine1test.New(t)
			cmd := command(w, tt.args...)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
			w.AwaitCall("ListMachines")
			m := machine1test.C8NS()
			m.Name = "web"
			w.Add(m)
			w.TellReady("web")
			w.TellFailed("broken", "b.service", "unit b.service failed\x1b")
			w.TellChanged("web")
			w.Remove("web")
			lines := bufio.NewScanner(out)
			for _, want := range tt.want {
				if !lines.Scan() {
					t.Fatalf("no line %s: %v", want, lines.Err())
				}
				if !regexp.MustCompile("^" + want + "$").MatchString(lines.Text()) {
					t.Errorf("line %q, want %s", lines.Text(), want)
				}
			}
		})
	}
}

func TestTopOnATerminal(t *testing.T) {
	t.Parallel()
	w := machine1test.New(t)
	for _, name := range []string{"calm", "busy"} {
		m := machine1test.C8NS()
		m.Name = name
		w.Add(m)
	}
	w.SetUsage("busy", mustUsage(t, "cpu=0,tasks=3"), mustUsage(t, "cpu=3600000000,tasks=3"))
	w.SetUsage("calm", mustUsage(t, "cpu=5,tasks=9"))
	tm := runOnTerminal(t, w, 80, "top", "--delay=50ms")
	tm.await("\x1b[?1049h")
	tm.await("machines 2")
	tm.await("TASKS")
	// Idle from the second answer on, so calm and busy take the same.
	tm.await("0.0%")
	tm.typed("t")
	tm.await("TASKS▼")
	tm.typed("i")
	tm.await("TASKS▲")
	tm.typed("n")
	tm.await("MACHINE▲")
	if err := pty.Setsize(tm.master, &pty.Winsize{Rows: 24, Cols: 40}); err != nil {
		t.Fatal(err)
	}
	tm.await("q leaves   order by: n name  c cpu  m me\x1b")
	tm.typed("q")
	tm.await("\x1b[?1049l")
	tm.exits(0)
}

// More machines than rows: the first ones are seen, and by scrolling the others.
func TestTopScrolls(t *testing.T) {
	t.Parallel()
	w := machine1test.New(t)
	for i := range 40 {
		m := machine1test.C8NS()
		m.Name = "m" + strconv.Itoa(100+i)
		w.Add(m)
		w.SetUsage(m.Name, mustUsage(t, "cpu=0"))
	}
	tm := runOnTerminal(t, w, 80, "top", "--delay=1h")
	tm.await("m118") // 24 rows, 5 of them for other things
	if strings.Contains(tm.text(), "m119") {
		t.Error("more rows than there is room for")
	}
	tm.typed("\x1b[B")
	tm.await("m119")
	tm.typed("\x1b[F")
	tm.await("m139")
	tm.typed("\x03")
	tm.exits(0)
}

func TestTopLeavesTheTerminalAsItWas(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*terminal, *machine1test.World){
		"the daemon goes": func(_ *terminal, w *machine1test.World) { w.StopBus() },
		"terminated":      func(tm *terminal, _ *machine1test.World) { tm.cmd.Process.Signal(syscall.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := machine1test.New(t)
			tm := runOnTerminal(t, w, 80, "top", "--delay=50ms")
			tm.await("machines 0")
			end(tm, w)
			tm.await("\x1b[?1049l")
			if name == "terminated" {
				tm.exits(143)
				return
			}
			tm.await("machctl: ")
			tm.exits(exitUnavailable)
		})
	}
}
