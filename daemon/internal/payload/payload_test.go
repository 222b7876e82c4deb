package payload

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machd"
)

// As a first process this program runs the tests' commands.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == Argument {
		os.Exit(Run(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// A first process of a PID namespace, and our end of its session.
type first struct {
	*exec.Cmd
	session int
	out     *bytes.Buffer
}

func startFirst(t *testing.T, argv ...string) *first {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("a PID namespace takes root")
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	must(t, unix.SetNonblock(pair[1], true)) // as the daemon does
	theirs := os.NewFile(uintptr(pair[1]), "session")
	defer theirs.Close()
	f := &first{exec.Command(os.Args[0], append([]string{Argument}, argv...)...), pair[0], &bytes.Buffer{}}
	f.Stdout, f.ExtraFiles = f.out, []*os.File{theirs}
	f.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_PID=1", "NOTIFY_SOCKET=/x")
	f.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	must(t, f.Start())
	t.Cleanup(func() {
		unix.Close(f.session)
		f.Process.Kill()
		f.Cmd.Wait()
	})
	return f
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (f *first) outcome(t *testing.T) machd.Outcome {
	t.Helper()
	packet := make([]byte, machd.MaxPacket)
	n, err := unix.Read(f.session, packet)
	must(t, err)
	o, err := machd.ParseOutcome(packet[:n])
	must(t, err)
	return o
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		script  string
		exit    int
		signal  int
		failure machd.Failure
		status  int // of the first process
	}{
		{"exit 0", 0, 0, "", 0},
		{"exit 7", 7, 0, "", 7},
		{"exit 133", 133, 0, "", 1}, // which systemd-nspawn would take for a reboot
		{"kill -KILL $$", 0, 9, "", 137},
		{"(sleep 0.1; exit 3) & exit 4", 4, 0, "", 4},
		{"", 0, 0, machd.FailureNotFound, 127},
	} {
		f := startFirst(t, "sh", "-c", c.script)
		if c.failure != "" {
			f = startFirst(t, "/no/such")
		}
		o := f.outcome(t)
		if o.Signal != c.signal || o.Failure != c.failure || o.Exit != nil && *o.Exit != c.exit || o.Exit == nil && c.exit != 0 {
			t.Errorf("%q: got %s", c.script, o.Encode())
		}
		_ = f.Wait()
		if got := f.ProcessState.ExitCode(); got != c.status {
			t.Errorf("%q: the status is %d, want %d", c.script, got, c.status)
		}
	}
}

func TestWhatCannotBeRun(t *testing.T) {
	t.Parallel()
	if o := startFirst(t, "/etc/passwd").outcome(t); o.Failure != machd.FailureNotExecutable {
		t.Errorf("got %s", o.Encode())
	}
	if o := startFirst(t).outcome(t); o.Failure != machd.FailureNotFound {
		t.Errorf("got %s", o.Encode())
	}
}

func TestOrdersReachTheWholeCommand(t *testing.T) {
	t.Parallel()
	f := startFirst(t, "sh", "-c", "sleep 1000 & trap 'wait; exit 9' USR1; kill -USR2 $PPID 2>/dev/null; while :; do sleep 0.05; done")
	time.Sleep(300 * time.Millisecond) // it has its handler
	_, err := unix.Write(f.session, machd.Order{Signal: int(unix.SIGTERM)}.Encode())
	must(t, err)
	if o := f.outcome(t); o.Signal != int(unix.SIGTERM) {
		t.Errorf("got %s", o.Encode())
	}
}

// It takes no time of the processor to wait.
func TestWaitsIdly(t *testing.T) {
	t.Parallel()
	f := startFirst(t, "sh", "-c", "sleep 1")
	f.outcome(t)
	_ = f.Wait()
	if used := f.ProcessState.UserTime() + f.ProcessState.SystemTime(); used > 300*time.Millisecond {
		t.Errorf("it has used %s", used)
	}
}

// What ignores the end of its caller ends with it all the same.
func TestEndsWithItsCaller(t *testing.T) {
	t.Parallel()
	f := startFirst(t, "sh", "-c", "trap '' HUP TERM; while :; do sleep 1; done")
	must(t, unix.Shutdown(f.session, unix.SHUT_WR))
	began := time.Now()
	_ = f.Wait()
	if took := time.Since(began); took > 10*grace {
		t.Errorf("it took %s", took)
	}
}

// The command has its own files and nothing of what was for us.
func TestTheCommandHasNothingOfOurs(t *testing.T) {
	t.Parallel()
	f := startFirst(t, "sh", "-c", "env; ls /proc/self/fd | wc -l; echo pid $$")
	f.outcome(t)
	_ = f.Wait()
	for _, word := range []string{"LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET"} {
		if strings.Contains(f.out.String(), word) {
			t.Errorf("it has %s", word)
		}
	}
	if got := environment([]string{"A=1", "LISTEN_FDS=1", "B"}); !slices.Equal(got, []string{"A=1", "B"}) {
		t.Errorf("the environment is %q", got)
	}
}
