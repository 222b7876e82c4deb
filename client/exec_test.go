package client_test

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/client"
	"github.com/machd/machd/client/internal/machine1test"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

func connectToC8(t *testing.T) (*machine1test.World, *client.Client) {
	t.Helper()
	w, c := connect(t)
	w.Add(machine1test.C8NS())
	return w, c
}

func exited(status int) machd.Outcome { return machd.Outcome{Exit: &status} }

func shell(script string) client.ExecCommand {
	return client.ExecCommand{Args: []string{"sh", "-c", script}}
}

func mustExec(t *testing.T, c *client.Client, command client.ExecCommand) *client.Execution {
	t.Helper()
	x, err := c.Exec(t.Context(), "c8-ns", command)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	return x
}

func wantOutcome(t *testing.T, x *client.Execution, want machd.Outcome) {
	t.Helper()
	got, err := x.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

// blockingPipe returns a pipe as shells make it.
func blockingPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	r, w = os.NewFile(uintptr(fds[0]), "r"), os.NewFile(uintptr(fds[1]), "w")
	t.Cleanup(func() {
		r.Close()
		w.Close()
	})
	return r, w
}

func TestExecTellsHowTheCommandEnds(t *testing.T) {
	t.Parallel()
	_, c := connectToC8(t)
	for _, row := range []struct {
		command client.ExecCommand
		want    machd.Outcome
	}{
		{shell("exit 0"), exited(0)},
		{shell("exit 7"), exited(7)},
		{shell("kill -KILL $$"), machd.Outcome{Signal: 9}},
		{client.ExecCommand{Args: []string{"/no/such"}}, machd.Outcome{Failure: machd.FailureNotFound, Message: `Cannot run "/no/such": no such file or directory`}},
		{client.ExecCommand{Args: []string{"/etc"}}, machd.Outcome{Failure: machd.FailureNotExecutable, Message: `Cannot run "/etc": permission denied`}},
	} {
		wantOutcome(t, mustExec(t, c, row.command), row.want)
	}
}

func TestExecPassesFilesAsTheyAre(t *testing.T) {
	t.Parallel()
	_, c := connectToC8(t)
	inR, inW := blockingPipe(t)
	outR, outW := blockingPipe(t)
	command := shell("cat")
	command.Stdin, command.Stdout = inR, outW
	x := mustExec(t, c, command)
	inR.Close()
	outW.Close()
	io.WriteString(inW, "a\x00b\r\n")
	inW.Close()
	got, err := io.ReadAll(outR)
	if err != nil || string(got) != "a\x00b\r\n" {
		t.Errorf("got %q, %v", got, err)
	}
	wantOutcome(t, x, exited(0))
	if x.Terminal != nil {
		t.Error("there is a terminal that nobody asked for")
	}
}

// In a machine with ids of its own, nobody is the owner of a pipe of ours.
func TestAPipeCanBeReopenedInItsOwnDirection(t *testing.T) {
	t.Parallel()
	_, c := connectToC8(t)
	in, inW := blockingPipe(t)
	outR, out := blockingPipe(t)
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	command := shell("exit 0")
	command.Stdin, command.Stdout, command.Stderr = in, out, file
	wantOutcome(t, mustExec(t, c, command), exited(0))
	for _, row := range []struct {
		what string
		f    *os.File
		want os.FileMode
	}{{"input", in, 0o604}, {"its other end", inW, 0o604}, {"output", out, 0o602}, {"its other end", outR, 0o602}, {"a file", file, 0o600}} {
		if info, err := row.f.Stat(); err != nil || info.Mode().Perm() != row.want {
			t.Errorf("%s: mode %v, %v; want %v", row.what, info.Mode(), err, row.want)
		}
	}
}

func TestADirectoryIsNotGivenToACommand(t *testing.T) {
	t.Parallel()
	w, c := connectToC8(t)
	dir, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	_, err = c.Exec(t.Context(), "c8-ns", client.ExecCommand{Args: []string{"true"}, Stderr: dir})
	if !errors.Is(err, machine1.ErrInvalidArgs) || !strings.Contains(err.Error(), "/ is a directory") {
		t.Errorf("got %v", err)
	}
	if calls := w.Calls(); len(calls) > 0 {
		t.Errorf("it was called: %q", calls)
	}
}

func TestASignalReachesTheCommand(t *testing.T) {
	t.Parallel()
	_, c := connectToC8(t)
	r, w := blockingPipe(t)
	command := shell("trap 'exit 9' USR1; echo ready; while :; do sleep 0.01; done")
	command.Stdout = w
	x := mustExec(t, c, command)
	if _, err := io.ReadFull(r, make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	if err := x.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	wantOutcome(t, x, exited(9))
	if err := x.Signal(syscall.SIGUSR1); err != nil {
		t.Errorf("a signal to a command that has ended: %v", err)
	}
}

func TestAClosedExecutionEnds(t *testing.T) {
	t.Parallel()
	_, c := connectToC8(t)
	r, w := blockingPipe(t)
	command := client.ExecCommand{Args: []string{"sleep", "60"}, Stdout: w}
	x := mustExec(t, c, command)
	w.Close()
	x.Close()
	start := time.Now()
	if _, err := io.ReadAll(r); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestAnExecutionWhoseDaemonEndsIsLost(t *testing.T) {
	t.Parallel()
	w, c := connectToC8(t)
	x := mustExec(t, c, client.ExecCommand{Args: []string{"sleep", "60"}})
	w.HangUp()
	got, err := x.Wait(t.Context())
	if err != nil || got.Failure != machd.FailureLost || got.Message == "" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestWaitingForACommandEndsWithItsContext(t *testing.T) {
	t.Parallel()
	_, c := connectToC8(t)
	x := mustExec(t, c, client.ExecCommand{Args: []string{"sleep", "60"}})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := x.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// What was read counts, whatever has ended meanwhile.
func TestAnOutcomeThatCameIsTold(t *testing.T) {
	t.Parallel()
	_, c := connectToC8(t)
	x := mustExec(t, c, shell("exit 7"))
	got, err := x.Wait(&endingContext{t.Context()})
	if diff := cmp.Diff(exited(7), got); err != nil || diff != "" {
		t.Errorf("%v; want -, got +:\n%s", err, diff)
	}
}

// An endingContext has ended for whoever asks, and tells nobody by itself.
type endingContext struct{ context.Context }

func (*endingContext) Err() error { return context.Canceled }

func TestExecEndsWithItsContext(t *testing.T) {
	t.Parallel()
	w, c := connectToC8(t)
	w.Hang("Exec c8-ns")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		w.AwaitCall("Exec c8-ns")
		cancel()
	}()
	if _, err := c.Exec(ctx, "c8-ns", client.ExecCommand{Args: []string{"true"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// A daemon that ends and says so has run nothing; of one that only lost somebody
// nobody can tell.
func TestExecAsksTheDaemonThatFollows(t *testing.T) {
	t.Parallel()
	w, c := connectToC8(t)
	asked := func() (n int) {
		for _, call := range w.Calls() {
			if strings.HasPrefix(call, "Exec c8-ns") {
				n++
			}
		}
		return n
	}
	w.Fail("Exec", machine1test.Error("org.machd.Error.Ending", "The machine manager is about to end."))
	done := make(chan *client.Execution, 1)
	go func() {
		x, err := c.Exec(t.Context(), "c8-ns", shell("exit 7"))
		if err != nil {
			t.Errorf("it was not run: %v", err)
		}
		done <- x
	}()
	w.AwaitCall("Exec c8-ns")
	w.Fail("Exec", nil)
	if x := <-done; x != nil {
		defer x.Close()
		wantOutcome(t, x, exited(7))
	}
	before := asked()
	if before < 2 {
		t.Errorf("asked %d times", before)
	}
	for _, name := range []string{"Disconnected", "NoReply"} {
		w.Fail("Exec", machine1test.Error("org.freedesktop.DBus.Error."+name, "it went"))
		if _, err := c.Exec(t.Context(), "c8-ns", shell("exit 7")); err == nil || asked() != before+1 {
			t.Errorf("%s: %v, asked %d times", name, err, asked()-before)
		}
		before = asked()
	}
}

func TestExecErrorsKeepTheirKind(t *testing.T) {
	t.Parallel()
	w, c := connectToC8(t)
	run := func(name string) error {
		_, err := c.Exec(t.Context(), name, client.ExecCommand{Args: []string{"true"}})
		return err
	}
	wantKind := func(err, want error, text string) {
		t.Helper()
		if !errors.Is(err, want) || !strings.Contains(err.Error(), text) {
			t.Errorf("got %v, want %v and %q", err, want, text)
		}
	}
	wantKind(run("nope"), machine1.ErrNoSuchMachine, `cannot run a command in "nope": No machine 'nope' known`)
	w.Fail("Exec", machine1test.Error("org.freedesktop.DBus.Error.AccessDenied", "Access denied"))
	wantKind(run("c8-ns"), machine1.ErrAccessDenied, "Access denied")
	w.BeStock(true)
	wantKind(run("c8-ns"), machine1.ErrNotSupported, "systemd-machined")
	w.Fail("Exec", nil)
	wantKind(run("c8-ns"), machine1.ErrNotSupported, "systemd-machined")
}

func TestATerminalComesWithTheCommand(t *testing.T) {
	t.Parallel()
	_, c := connectToC8(t)
	command := shell("echo $FOO; tty >/dev/null; exit $?")
	command.Terminal, command.Env = true, []string{"FOO=bar"}
	x := mustExec(t, c, command)
	line := make([]byte, 5)
	if _, err := io.ReadFull(x.Terminal, line); err != nil || string(line) != "bar\r\n" {
		t.Errorf("read %q, %v", line, err)
	}
	wantOutcome(t, x, exited(0))
}

// Not parallel: others open files too.
func TestExecLeavesNoDescriptors(t *testing.T) {
	_, c := connectToC8(t)
	open := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	once := func(command client.ExecCommand) {
		x, err := c.Exec(t.Context(), "c8-ns", command)
		if err != nil {
			t.Fatal(err)
		}
		x.Wait(t.Context())
		x.Close()
	}
	terminal := shell("exit 0")
	terminal.Terminal = true
	once(shell("exit 0"))
	once(terminal)
	before := open()
	for range 20 {
		once(shell("exit 0"))
		once(terminal)
		once(client.ExecCommand{Args: []string{"/no/such"}})
	}
	// The daemon of the test closes its own copies a little later.
	deadline := time.Now().Add(30 * time.Second)
	for open() > before+5 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond) // nobody tells when it has
	}
	if after := open(); after > before+5 {
		t.Errorf("%d descriptors are open, before %d", after, before)
	}
}

// Whoever waited in vain may do something about it, and wait again.
func TestExecIsWaitedForAgain(t *testing.T) {
	t.Parallel()
	_, c := connectToC8(t)
	x := mustExec(t, c, shell("sleep 60"))
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := x.Wait(ctx)
		cancel()
		if !errors.Is(err, machine1.ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want that the time is over", err)
		}
	}
	if err := x.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	want := machd.Outcome{Signal: int(unix.SIGTERM)}
	wantOutcome(t, x, want)
	wantOutcome(t, x, want)
	x.Close()
	wantOutcome(t, x, want)
}

func TestAClosedExecutionTellsNothing(t *testing.T) {
	t.Parallel()
	_, c := connectToC8(t)
	x := mustExec(t, c, shell("sleep 60"))
	x.Close()
	if _, err := x.Wait(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v, want os.ErrClosed", err)
	}
}
