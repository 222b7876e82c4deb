package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/client/internal/machine1test"
)

// patience is how long a test waits for what must happen.
const patience = time.Minute

// A terminal is a pseudo-terminal with machctl on it.
type terminal struct {
	t      *testing.T
	master *os.File
	slave  *os.File
	cmd    *exec.Cmd
	before unix.Termios

	mu     sync.Mutex
	cond   *sync.Cond
	screen bytes.Buffer
}

// runOnTerminal starts machctl on a terminal of 24 rows and the given columns.
// Arguments before the verb that are VAR=VALUE go to the environment.
func runOnTerminal(t *testing.T, w *machine1test.World, columns uint16, args ...string) *terminal {
	t.Helper()
	var env []string
	for len(args) > 0 && strings.Contains(args[0], "=") {
		env, args = append(env, args[0]), args[1:]
	}
	cmd := command(w, args...)
	cmd.Env = append(cmd.Env, env...)
	return putOnTerminal(t, columns, cmd)
}

// putOnTerminal starts cmd on a terminal of its own.
func putOnTerminal(t *testing.T, columns uint16, cmd *exec.Cmd) *terminal {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	tm := &terminal{t: t, master: master, slave: slave, cmd: cmd}
	tm.cond = sync.NewCond(&tm.mu)
	t.Cleanup(func() {
		master.Close()
		slave.Close()
	})
	pty.Setsize(master, &pty.Winsize{Rows: 24, Cols: columns})
	tm.before = tm.modes()
	tm.cmd.Stdin, tm.cmd.Stdout, tm.cmd.Stderr = slave, slave, slave
	tm.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := tm.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go tm.read()
	return tm
}

func (tm *terminal) read() {
	buffer := make([]byte, 4096)
	for {
		n, err := tm.master.Read(buffer)
		tm.mu.Lock()
		tm.screen.Write(buffer[:n])
		tm.mu.Unlock()
		tm.cond.Broadcast()
		if err != nil {
			return
		}
	}
}

func (tm *terminal) text() string {
	tm.mu.Lock()
	defer tm.mu.Unlock()
	return tm.screen.String()
}

// await waits until text is on the screen.
func (tm *terminal) await(text string) {
	tm.t.Helper()
	deadline := time.Now().Add(patience)
	timeout := time.AfterFunc(patience, tm.cond.Broadcast)
	defer timeout.Stop()
	tm.mu.Lock()
	defer tm.mu.Unlock()
	for !strings.Contains(tm.screen.String(), text) {
		if time.Now().After(deadline) {
			tm.t.Fatalf("waited for %q on the screen, which shows %q", text, tm.screen.String())
		}
		tm.cond.Wait()
	}
}

func (tm *terminal) typed(keys string) { io.WriteString(tm.master, keys) }

// exits waits for the end of machctl and checks its exit code, and that the
// terminal is as before.
func (tm *terminal) exits(want int) {
	tm.t.Helper()
	timeout := time.AfterFunc(patience, func() { tm.cmd.Process.Kill() })
	defer timeout.Stop()
	err := tm.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		tm.t.Fatal(err)
	}
	tm.drain()
	if got := tm.cmd.ProcessState.ExitCode(); got != want {
		tm.t.Errorf("exit code %d, want %d (%v); screen %q", got, want, tm.cmd.ProcessState, tm.text())
	}
	if got := tm.modes(); got != tm.before {
		tm.t.Errorf("the terminal's modes are\n%+v, before\n%+v", got, tm.before)
	}
}

// drain waits until all that was written is on the screen.
func (tm *terminal) drain() {
	tm.t.Helper()
	const mark = "\x00all\x00"
	if _, err := io.WriteString(tm.slave, mark); err != nil {
		tm.t.Fatal(err)
	}
	tm.await(mark)
	tm.mu.Lock()
	defer tm.mu.Unlock()
	rest := strings.ReplaceAll(tm.screen.String(), mark, "")
	tm.screen.Reset()
	tm.screen.WriteString(rest)
}

func (tm *terminal) modes() unix.Termios {
	tm.t.Helper()
	termios, err := unix.IoctlGetTermios(int(tm.slave.Fd()), unix.TCGETS)
	if err != nil {
		tm.t.Fatal(err)
	}
	return *termios
}

// getty is a machine's side of a login: a prompt, and after "exit" the next
// one on the terminal opened anew, until "halt".
func getty(slave *os.File) {
	name := slave.Name()
	for {
		io.WriteString(slave, "c8-ns login: ")
		line := make([]byte, 256)
		for {
			n, err := slave.Read(line)
			if err != nil || n == 0 {
				return
			}
			word := strings.TrimSpace(string(line[:n]))
			if word == "halt" {
				slave.Close()
				return
			}
			if word == "exit" {
				break
			}
			fmt.Fprintf(slave, "[%s]\n", word)
		}
		slave.Close()
		again, err := os.OpenFile(name, os.O_RDWR|syscall.O_NOCTTY, 0)
		if err != nil {
			return
		}
		slave = again
	}
}

func worldWithLogin(t *testing.T) *machine1test.World {
	w := machine1test.New(t)
	m := machine1test.C8NS()
	m.Terminal = getty
	w.Add(m)
	return w
}

const connected = "Connected to machine c8-ns. Press ^] three times within 1s to exit session."

func TestALoginLastsUntilTheUserLeaves(t *testing.T) {
	t.Parallel()
	tm := runOnTerminal(t, worldWithLogin(t), 80, "login", "c8-ns")
	tm.await(connected)
	tm.await("c8-ns login: ")
	tm.typed("root\n")
	tm.await("[root]")
	tm.typed("exit\n")
	tm.await("exit\r\nc8-ns login: ")
	tm.typed("\x1d\x1d\x1d")
	tm.exits(0)
	tm.await("c8-ns login: ")
	tm.await("\r\nConnection to machine c8-ns terminated.\r\n")
}

func TestALoginEndsWithTheMachine(t *testing.T) {
	t.Parallel()
	w := worldWithLogin(t)
	m, _ := w.Machine("c8-ns")
	dead := make(chan struct{})
	m.Terminal = func(slave *os.File) {
		io.WriteString(slave, "c8-ns login: ")
		<-dead
		io.WriteString(slave, "powering off\n")
	}
	w.Add(m)
	tm := runOnTerminal(t, w, 80, "login", "c8-ns")
	tm.await("c8-ns login: ")
	w.Remove("c8-ns")
	close(dead)
	tm.exits(0)
	tm.await("powering off\r\nMachine c8-ns terminated.\r\n")
}

func TestALoginToTheHost(t *testing.T) {
	t.Parallel()
	tm := runOnTerminal(t, machine1test.New(t), 80, "login")
	tm.await("Connected to the local host. Press ^] three times within 1s to exit session.")
	tm.await(".host login: ")
	tm.typed("\x1d\x1d\x1d")
	tm.exits(0)
	tm.await("Connection to the local host terminated.")
}

func TestAQuietLoginSaysNothing(t *testing.T) {
	t.Parallel()
	tm := runOnTerminal(t, worldWithLogin(t), 80, "login", "-q", "c8-ns")
	tm.await("c8-ns login: ")
	tm.typed("\x1d\x1d\x1d")
	tm.exits(0)
	if text := tm.text(); strings.Contains(text, "erminated") || strings.Contains(text, "onnected") {
		t.Errorf("the screen shows %q", text)
	}
}

func TestASignalEndsASessionAndRestoresTheTerminal(t *testing.T) {
	t.Parallel()
	for signal, want := range map[syscall.Signal]int{syscall.SIGTERM: 0, syscall.SIGINT: 0, syscall.SIGHUP: 129, syscall.SIGQUIT: 131} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			tm := runOnTerminal(t, worldWithLogin(t), 80, "login", "c8-ns")
			tm.await("c8-ns login: ")
			tm.cmd.Process.Signal(signal)
			tm.exits(want)
			tm.await("Connection to machine c8-ns terminated.")
		})
	}
}

func TestAStoppedSessionGivesTheTerminalBackMeanwhile(t *testing.T) {
	t.Parallel()
	tm := runOnTerminal(t, worldWithLogin(t), 80, "login", "c8-ns")
	tm.await("c8-ns login: ")
	tm.cmd.Process.Signal(syscall.SIGTSTP)
	var status unix.WaitStatus
	for !status.Stopped() {
		if _, err := unix.Wait4(tm.cmd.Process.Pid, &status, unix.WUNTRACED, nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := tm.modes(); got != tm.before {
		t.Errorf("the terminal's modes are\n%+v, before\n%+v", got, tm.before)
	}
	tm.cmd.Process.Signal(syscall.SIGCONT)
	tm.typed("root\n")
	tm.await("[root]")
	tm.typed("\x1d\x1d\x1d")
	tm.exits(0)
}

func TestASessionOutlivesTheDaemon(t *testing.T) {
	t.Parallel()
	w := worldWithLogin(t)
	tm := runOnTerminal(t, w, 80, "login", "c8-ns")
	tm.await("c8-ns login: ")
	w.StopMachined()
	tm.typed("first\n")
	tm.await("[first]")
	if err := w.StartMachined(); err != nil {
		t.Fatal(err)
	}
	tm.typed("second\n")
	tm.await("[second]")
	tm.typed("exit\n")
	tm.await("exit\r\nc8-ns login: ")
	w.Remove("c8-ns")
	tm.typed("halt\n")
	tm.exits(0)
	tm.await("Machine c8-ns terminated.")
}

func TestAMachineThatEndedWhileTheDaemonWasDownEndsItsLogin(t *testing.T) {
	t.Parallel()
	w := worldWithLogin(t)
	m, _ := w.Machine("c8-ns")
	dead := make(chan struct{})
	m.Terminal = func(slave *os.File) {
		io.WriteString(slave, "c8-ns login: ")
		<-dead
	}
	w.Add(m)
	tm := runOnTerminal(t, w, 80, "login", "c8-ns")
	tm.await("c8-ns login: ")
	w.StopMachined()
	w.Remove("c8-ns")
	close(dead)
	if err := w.StartMachined(); err != nil {
		t.Fatal(err)
	}
	tm.exits(0)
	tm.await("Machine c8-ns terminated.")
}

func TestASessionOutlivesTheBus(t *testing.T) {
	t.Parallel()
	w := worldWithLogin(t)
	tm := runOnTerminal(t, w, 80, "login", "c8-ns")
	tm.await("c8-ns login: ")
	w.StopBus()
	tm.typed("still\n")
	tm.await("[still]")
	tm.typed("\x1d\x1d\x1d")
	tm.exits(0)
	tm.await("Connection to machine c8-ns terminated.")
}

func TestAShellOnATerminal(t *testing.T) {
	t.Parallel()
	w := machine1test.New(t)
	w.Add(machine1test.C8NS())
	tm := runOnTerminal(t, w, 80, "shell", "c8-ns", "/bin/sh", "-c", "echo ready; read x; stty size; echo got $x $TERM; printf unfinished")
	tm.await("ready")
	tm.typed("this\n")
	tm.exits(0)
	tm.await("24 80\r\ngot this xterm\r\nunfinished\r\nConnection to machine c8-ns terminated.\r\n")
}

func TestAShellFollowsTheSizeOfTheTerminal(t *testing.T) {
	t.Parallel()
	w := machine1test.New(t)
	w.Add(machine1test.C8NS())
	tm := runOnTerminal(t, w, 80, "shell", "c8-ns", "/bin/sh", "-c", `trap 'size=$(stty size); echo $size; test "$size" != "30 100" || exit 0' WINCH; echo ready; while :; do read x; done`)
	tm.await("ready")
	pty.Setsize(tm.master, &pty.Winsize{Rows: 30, Cols: 100})
	tm.await("30 100")
	tm.exits(0)
}

func TestATableFitsTheTerminalUnlessToldNotTo(t *testing.T) {
	t.Parallel()
	w := machine1test.New(t)
	w.Add(machine1test.C8NS())
	tm := runOnTerminal(t, w, 45, "list")
	tm.exits(0)
	tm.await("listed")
	for line := range strings.SplitSeq(sgr.ReplaceAllString(tm.text(), ""), "\r\n") {
		if n := len([]rune(line)); n > 45 {
			t.Errorf("%d columns: %q", n, line)
		}
	}
	tm = runOnTerminal(t, w, 45, "list", "--full")
	tm.exits(0)
	tm.await("fe80::1c3f:aff:fe12:1")
}

// sgr matches colours and other styles.
var sgr = regexp.MustCompile("\x1b\\[[0-9;]*m")

func TestColourIsForTerminalsThatWantIt(t *testing.T) {
	t.Parallel()
	w := machine1test.New(t)
	w.Add(machine1test.C8NS())
	for env, want := range map[string]bool{"TERM=xterm": true, "TERM=dumb": false, "NO_COLOR=1": false} {
		tm := runOnTerminal(t, w, 80, env, "list")
		tm.exits(0)
		tm.await("listed")
		if got := sgr.MatchString(tm.text()); got != want {
			t.Errorf("with %s, colour is %v, want %v", env, got, want)
		}
	}
}
