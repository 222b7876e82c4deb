package relay_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/machd/machd/client/internal/relay"
)

// far is a program that is the far end of a relay to a shell.
func far() {
	status, err := relay.Serve(os.Stdin, os.Stdout, exec.Command("sh", "-c", os.Args[1]))
	if err != nil {
		os.Exit(99)
	}
	_ = status
}

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"far": far}) }

func run(t *testing.T, script, input string, c relay.Command) (out string, status int, err error) {
	t.Helper()
	var stdout bytes.Buffer
	if len(c.Args) == 0 {
		c.Args = []string{"far", script}
	}
	c.Stdin, c.Stdout = strings.NewReader(input), &stdout
	done := make(chan struct{})
	go func() {
		defer close(done)
		status, err = relay.Run(c)
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatalf("%s does not end", script)
	}
	return stdout.String(), status, err
}

func TestACommandIsAsOneOfThisHost(t *testing.T) {
	t.Parallel()
	random := make([]byte, 5<<20)
	rand.Read(random)
	for _, row := range []struct {
		script, input string
		out           string
		status        int
	}{
		{"cat", string(random), string(random), 0},
		{"cat", "", "", 0},
		{"cat; exit 7", "a\x00b\r\n\x04\xff", "a\x00b\r\n\x04\xff", 7},
		{"exit 255", "", "", 255},
		{"kill -KILL $$", "", "", 137},
		{"head -c 1", string(random), string(random[:1]), 0},
		{"exec <&-; sleep 0.2; echo x", string(random), "x\n", 0},
		{"head -c 3000000 /dev/zero", "", strings.Repeat("\x00", 3000000), 0},
		{"sleep 100 & echo here", "", "here\n", 0},
	} {
		out, status, err := run(t, row.script, row.input, relay.Command{})
		if out != row.out || status != row.status || err != nil {
			t.Errorf("%s: %d bytes, want %d; status %d, want %d; %v", row.script, len(out), len(row.out), status, row.status, err)
		}
	}
}

// A slowReader takes nothing of the output for a while once it has begun.
type slowReader struct {
	pause time.Duration
	took  int
}

func (s *slowReader) Write(p []byte) (int, error) {
	if p[0] == 'o' {
		time.Sleep(s.pause)
		s.pause = 0
		s.took += len(p) - 5 // the frame's head
	}
	return len(p), nil
}

// Nothing of the output is lost on who reads it late, and what is left behind is
// not waited for.
func TestOutputThatIsReadLateIsAllThere(t *testing.T) {
	t.Parallel()
	for script, want := range map[string]int{
		"printf x; sleep 0.2; head -c 60000 /dev/zero":                         60001,
		"sleep 100 2>/dev/null & printf x; sleep 0.2; head -c 60000 /dev/zero": 60001,
		"yes 2>/dev/null & printf x; sleep 0.2":                                60001,
	} {
		in, feed := io.Pipe()
		reader := &slowReader{pause: 2 * time.Second}
		var status int
		var err error
		done := make(chan struct{})
		go func() {
			defer close(done)
			status, err = relay.Serve(in, reader, exec.Command("sh", "-c", script))
		}()
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Fatalf("%s does not end", script)
		}
		if reader.took < want || status != 0 || err != nil {
			t.Errorf("%s: %d bytes of %d came, status %d, %v", script, reader.took, want, status, err)
		}
		feed.Close()
	}
}

// Signals come before input that nobody takes.
func TestSignalsArePassedOn(t *testing.T) {
	const signal = syscall.SIGUSR1
	script := `trap 'echo got it; exit 3' USR1; echo ready >&2; while :; do sleep 0.01; done`
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = io.ReadFull(r, make([]byte, len("ready\n")))
		time.Sleep(50 * time.Millisecond)
		_ = syscall.Kill(os.Getpid(), signal)
	}()
	out, status, err := run(t, script, strings.Repeat("x", 10<<20), relay.Command{Stderr: w, Signals: []os.Signal{signal}})
	if out != "got it\n" || status != 3 || err != nil {
		t.Errorf("it wrote %q, status %d, %v", out, status, err)
	}
}

func TestWhatLeadsNowhere(t *testing.T) {
	t.Parallel()
	_, _, err := run(t, "", "", relay.Command{Args: []string{"sh", "-c", "exit 255"}})
	var unreachable *relay.UnreachableError
	if !errors.As(err, &unreachable) || unreachable.Status != 255 {
		t.Errorf("a program that ends: %v", err)
	}
	_, _, err = run(t, "", "", relay.Command{Args: []string{"sh", "-c", "echo machctl-relay: nobody; exit 127"}})
	if !errors.Is(err, relay.ErrNobody) {
		t.Errorf("nobody: %v", err)
	}
	_, _, err = run(t, "", "", relay.Command{Args: []string{"sh", "-c", "echo machctl-relay: frames; echo no frames"}})
	if !errors.Is(err, relay.ErrLost) {
		t.Errorf("an end in between: %v", err)
	}
	_, _, err = run(t, "", "", relay.Command{Args: []string{"/no/such"}})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no program: %v", err)
	}
}

func TestWhatTheShellSaysIsNotTheCommands(t *testing.T) {
	t.Parallel()
	out, status, err := run(t, "", "in", relay.Command{Args: []string{"sh", "-c", "echo Welcome; exec far 'cat; exit 4'"}})
	if out != "in" || status != 4 || err != nil {
		t.Errorf("%q, %d, %v", out, status, err)
	}
	out, status, err = run(t, "", "in", relay.Command{Args: []string{"sh", "-c", "echo Welcome; echo machctl-relay: bare; cat; exit 4"}})
	if out != "in" || status != 4 || err != nil {
		t.Errorf("bare: %q, %d, %v", out, status, err)
	}
}

// brokenInput ends before it is over.
type brokenInput struct{ left int }

func (b *brokenInput) Read(p []byte) (int, error) {
	if b.left--; b.left < 0 {
		return 0, errBroken
	}
	return copy(p, "some"), nil
}

var errBroken = errors.New("broken")

// A command must not take a part of its input for all.
func TestInputThatBreaksOffIsNoEnd(t *testing.T) {
	t.Parallel()
	for _, line := range [][]string{{"far"}, {"sh", "-c", `echo machctl-relay: bare; eval "$0"`}} {
		mark := t.TempDir() + "/mark"
		_, err := relay.Run(relay.Command{
			Args: append(line, "cat >"+mark+"; echo all >>"+mark), Stdin: &brokenInput{3}, Stdout: io.Discard,
		})
		if !errors.Is(err, errBroken) {
			t.Errorf("%s: it ended with %v", line, err)
		}
		if text, err := os.ReadFile(mark); err == nil && strings.Contains(string(text), "all") {
			t.Errorf("%s: it took %q", line, text)
		}
	}
}

// A command whose caller is gone is hung up.
func TestALostConnectionIsAHangUp(t *testing.T) {
	t.Parallel()
	mark := t.TempDir() + "/mark"
	in, feed := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = relay.Serve(in, io.Discard, exec.Command("sh", "-c", `trap 'echo hung up >"$0"; exit' HUP; echo; while :; do sleep 0.01; done`, mark))
	}()
	time.Sleep(200 * time.Millisecond)
	feed.Close()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the command goes on")
	}
	if text, err := os.ReadFile(mark); err != nil || string(text) != "hung up\n" {
		t.Errorf("it left %q, %v", text, err)
	}
}
