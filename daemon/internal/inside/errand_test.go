package inside_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machine1"
)

func newUserGuard(tb testing.TB) *inside.Guard {
	return inside.NewUserGuard(slog.New(slog.NewTextHandler(tb.Output(), nil)))
}

func TestErrandForATerminal(t *testing.T) {
	t.Parallel()
	for _, kind := range kindsOfIDs {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			m := startMapped(t, bare, kind.ids)
			g := newUserGuard(t)
			p, err := g.OpenPTY(t.Context(), m.leader)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			checkTerminal(t, m, p)
			eventually(t, "its process is gone", func() bool { return g.ErrandsGoOn() == 0 })
		})
	}
}

// ordinary is a user who has nothing but a user namespace.
const ordinary = 0x7001

// The kernel lets the maker of a user namespace in, and nobody else.
func TestErrandOfAnOrdinaryUser(t *testing.T) {
	t.Parallel()
	leader := machineOf(t, ordinary)
	for _, c := range []struct {
		user uint32
		may  bool
	}{{ordinary, true}, {ordinary + 1, false}} {
		daemon := exec.Command("/proc/self/exe", leader)
		daemon.Env = append(os.Environ(), kindVariable+"="+aUser)
		daemon.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: c.user, Gid: c.user}}
		out, err := daemon.CombinedOutput()
		if c.may != (err == nil) {
			t.Errorf("user %d: %v: %s", c.user, err, out)
		}
		if want := "the other end is user 524288's\nhere I am\r\n"; c.may && string(out) != want {
			t.Errorf("got %q, want %q", out, want)
		}
	}
}

// machineOf starts a machine with 65536 ids in a user namespace that user made,
// and returns its leader's number.
func machineOf(t *testing.T, user uint32) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("making a machine needs root")
	}
	started := func(cmd *exec.Cmd) string {
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Fatalf("%q: %q, %v", cmd.Args, line, err)
		}
		return fmt.Sprint(cmd.Process.Pid)
	}
	maker := exec.Command("unshare", "--user", "sh", "-c", "echo; exec sleep infinity")
	maker.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
	pid := started(maker)
	for _, file := range []string{"uid_map", "gid_map"} {
		if err := os.WriteFile("/proc/"+pid+"/"+file, fmt.Appendf(nil, "0 %d 65536", base), 0); err != nil {
			t.Fatal(err)
		}
	}
	return started(exec.Command("nsenter", "--target="+pid, "--user", "--setuid=0", "--setgid=0",
		"unshare", "--mount", "sh", "-c",
		"mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts /dev/pts && echo && exec sleep infinity"))
}

// runUser is the daemon of a user that opens a terminal in a machine, and says
// whose that is and what is written on it.
func runUser() {
	if err := useTerminal(os.Args[1]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

func useTerminal(pid string) error {
	n, err := strconv.Atoi(pid)
	if err != nil {
		return err
	}
	leader, err := proc.Open(n)
	if err != nil {
		return err
	}
	p, err := inside.NewUserGuard(slog.Default()).OpenPTY(context.Background(), leader)
	if err != nil {
		return err
	}
	tty := "/proc/" + pid + "/root" + p.Path
	var stat unix.Stat_t
	if err := unix.Stat(tty, &stat); err != nil {
		return err
	}
	fmt.Printf("the other end is user %d's\n", stat.Uid)
	err = exec.Command("nsenter", "--target="+pid, "--user", "--setuid=0", "--setgid=0",
		"sh", "-c", "echo here I am >"+tty).Run()
	if err != nil {
		return err
	}
	line, err := bufio.NewReader(p.Master).ReadString('\n')
	fmt.Print(line)
	return err
}

// Not parallel: it changes the search path.
func TestWhatTakesAnErrand(t *testing.T) {
	private, open := startMachine(t, bare, true), startMachine(t, bare, false)
	t.Setenv("PATH", "/nowhere")
	user, system := newUserGuard(t), newGuard(t)
	if p, err := user.OpenPTY(t.Context(), private.leader); err == nil || !strings.Contains(err.Error(), "nsenter") {
		p.Close()
		t.Errorf("a user's daemon and ids of the machine's own: got %v, want that there is no nsenter", err)
	}
	if p, err := user.OpenPTY(t.Context(), open.leader); err != nil {
		t.Errorf("a user's daemon and its own ids: %v", err)
	} else {
		p.Close()
	}
	if p, err := system.OpenPTY(t.Context(), private.leader); err != nil {
		t.Errorf("the system's daemon: %v", err)
	} else {
		p.Close()
	}
	if n := user.ErrandsGoOn(); n != 0 {
		t.Errorf("%d errands go on", n)
	}
}

// Not parallel: it changes the search path.
func TestErrandThatDoesNotArrive(t *testing.T) {
	m := startMachine(t, bare, true)
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	if err := os.WriteFile(filepath.Join(dir, "nsenter"), []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	g := newUserGuard(t)
	_, err := g.OpenPTY(t.Context(), m.leader)
	if !errors.Is(err, machine1.ErrDisconnected) || !strings.Contains(err.Error(), "cannot enter the machine's user namespace") {
		t.Errorf("got %v", err)
	}
	eventually(t, "its process is gone", func() bool { return g.ErrandsGoOn() == 0 })
}

func TestErrandForARootDirectory(t *testing.T) {
	t.Parallel()
	m := startMachine(t, bare, true)
	m.do(t, order{Do: "mkdir", Path: "/here"})
	root, err := newUserGuard(t).OpenRoot(t.Context(), m.leader)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	names, err := root.Readdirnames(-1)
	if err != nil || !strings.Contains(strings.Join(names, " "), "here") {
		t.Errorf("it has %q, %v", names, err)
	}
}

func TestErrandForALogin(t *testing.T) {
	t.Parallel()
	m := startBusMachine(t, &shiftedIDs)
	p, err := newUserGuard(t).StartLogin(t.Context(), m.leader, "m")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	checkLoginCall(t, p, m.calls(t))
}

func TestErrandForAShell(t *testing.T) {
	t.Parallel()
	m := startBusMachine(t, &shiftedIDs)
	g := newUserGuard(t)
	p, err := g.StartShell(t.Context(), m.leader, "m", inside.Shell{
		User: "daemon", Path: "/bin/echo", Args: []string{"echo", "hi there"}, Environment: []string{"A=b"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	checkShellCall(t, p, m.calls(t))
	// Names and texts are as without an errand.
	_, err = g.StartShell(t.Context(), m.leader, "m", inside.Shell{User: "refused"})
	if !errors.Is(err, machine1.ErrAccessDenied) || err.Error() != "No ?[31mway." {
		t.Errorf("got %v, want the manager's name and text", err)
	}
	big := inside.Shell{Path: "/bin/true", Args: []string{"true", strings.Repeat("\x01", 1<<18)}}
	if p, err := g.StartShell(t.Context(), m.leader, "m", big); err != nil {
		t.Errorf("a large command line: %v", err)
	} else {
		p.Close()
	}
}

// The process stays to tell of a shell that begins late.
func TestErrandForAShellThatBeginsLate(t *testing.T) {
	t.Parallel()
	m := startBusMachine(t, &shiftedIDs)
	g := newUserGuard(t)
	p, err := g.StartShell(t.Context(), m.leader, "m", inside.Shell{User: "late", Path: "/bin/true"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	checkLateFailure(t, m, bufio.NewReader(p.Master))
	eventually(t, "the process is gone", func() bool { return g.ErrandsGoOn() == 0 })
}

func TestErrandWithoutBus(t *testing.T) {
	t.Parallel()
	m := startMachine(t, bare, true)
	_, err := newUserGuard(t).StartLogin(t.Context(), m.leader, "appc")
	const want = "There is no system bus in container appc."
	if !errors.Is(err, machine1.ErrFileNotFound) || err.Error() != want {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestErrandInADeadMachine(t *testing.T) {
	t.Parallel()
	m := startMachine(t, bare, true)
	m.kill()
	if _, err := newUserGuard(t).OpenPTY(t.Context(), m.leader); !errors.Is(err, unix.ESRCH) {
		t.Errorf("got %v, want no such process", err)
	}
}

// A process that a machine keeps in its file system cannot be ended: it counts
// until the machine lets it go, and harms nobody else.
func TestErrandThatHangs(t *testing.T) {
	t.Parallel()
	m, other := startMachine(t, bare, true), startMachine(t, bare, true)
	m.do(t, order{Do: "hang", Path: "/run"})
	g := newUserGuard(t)
	start := time.Now()
	_, err := g.StartLogin(t.Context(), m.leader, "m")
	if !errors.Is(err, machine1.ErrTimeout) {
		t.Errorf("got %v, want a time-out", err)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	if n := g.ErrandsGoOn(); n != 1 {
		t.Errorf("%d errands go on, want the one that hangs", n)
	}
	if p, err := g.OpenPTY(t.Context(), other.leader); err != nil {
		t.Errorf("another machine: %v", err)
	} else {
		p.Close()
	}
	m.kill()
	eventually(t, "the process is gone", func() bool { return g.ErrandsGoOn() == 0 })
}

// Not parallel: it counts descriptors.
func TestErrandsLeaveNothingOpen(t *testing.T) {
	m := startMachine(t, bare, true)
	g := newUserGuard(t)
	once := func() {
		p, err := g.OpenPTY(t.Context(), m.leader)
		if err != nil {
			t.Fatal(err)
		}
		p.Close()
		if _, err := g.StartLogin(t.Context(), m.leader, "m"); err == nil {
			t.Fatal("a login succeeded")
		}
	}
	once() // opens what stays open for ever, as epoll
	eventually(t, "the processes are gone", func() bool { return g.ErrandsGoOn() == 0 })
	before := descriptors(t)
	for range 5 {
		once()
	}
	eventually(t, "descriptors go back", func() bool { return g.ErrandsGoOn() == 0 && descriptors(t) <= before })
}

func BenchmarkErrand(b *testing.B) {
	m := startMachine(b, bare, true)
	g := newUserGuard(b)
	for b.Loop() {
		p, err := g.OpenPTY(b.Context(), m.leader)
		if err != nil {
			b.Fatal(err)
		}
		p.Close()
	}
}
