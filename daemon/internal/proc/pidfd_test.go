package proc_test

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
)

// patience is how long a test waits for what has to happen.
const patience = 20 * time.Second

func TestOpenRefusesWhatIsNoProcess(t *testing.T) {
	t.Parallel()
	for pid, want := range map[int]error{1 << 30: unix.ESRCH, 0: unix.EINVAL, -1: unix.EINVAL} {
		if p, err := proc.Open(pid); !errors.Is(err, want) {
			t.Errorf("Open(%d) = %v, %v, want %v", pid, p, err, want)
		}
	}
}

func TestAProcessKeepsItsID(t *testing.T) {
	t.Parallel()
	first, second := child(t), child(t)
	p := open(t, first.Process.Pid)
	if p.ID() == 0 {
		t.Skip("this kernel has no pidfs")
	}
	again := open(t, first.Process.Pid)
	dup, err := p.Dup()
	if err != nil {
		t.Fatal(err)
	}
	defer dup.Close()
	if again.ID() != p.ID() || dup.ID() != p.ID() || dup.PID() != p.PID() {
		t.Errorf("one process has the ids %d, %d and %d", p.ID(), again.ID(), dup.ID())
	}
	if other := open(t, second.Process.Pid); other.ID() == p.ID() {
		t.Errorf("two processes have the id %d", p.ID())
	}
}

func TestAZombieIsNotAlive(t *testing.T) {
	t.Parallel()
	cmd := child(t)
	p := open(t, cmd.Process.Pid)
	if !p.Alive() {
		t.Fatal("a running process is not alive")
	}
	if err := p.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, p)
	if p.Alive() {
		t.Error("a zombie is alive")
	}
	if _, err := p.Cgroup(); !errors.Is(err, unix.ESRCH) {
		t.Errorf("the cgroup of a zombie was read: %v", err)
	}
	cmd.Wait()
	if err := p.Signal(unix.SIGTERM); !errors.Is(err, unix.ESRCH) {
		t.Errorf("signal to a reaped process: %v, want ESRCH", err)
	}
}

func TestNothingIsReadOfAProcessThatHasGone(t *testing.T) {
	t.Parallel()
	cmd := child(t)
	gone := open(t, cmd.Process.Pid)
	end(cmd)
	for what, p := range map[string]*proc.PIDFD{"a reaped process": gone, "nil": nil} {
		for name, read := range map[string]func() error{
			"UID":           func() error { _, err := p.UID(); return err },
			"Comm":          func() error { _, err := p.Comm(); return err },
			"Parent":        func() error { _, err := p.Parent(); return err },
			"Cgroup":        func() error { _, err := p.Cgroup(); return err },
			"UIDShift":      func() error { _, err := p.UIDShift(); return err },
			"OwnedBy":       func() error { _, err := p.OwnedBy(1); return err },
			"SameNamespace": func() error { _, err := p.SameNamespace("net"); return err },
			"OpenRoot":      func() error { _, err := p.OpenRoot(); return err },
			"Signal":        func() error { return p.Signal(unix.SIGTERM) },
		} {
			if err := read(); !errors.Is(err, unix.ESRCH) {
				t.Errorf("%s of %s: %v, want ESRCH", name, what, err)
			}
		}
		if p.Alive() {
			t.Errorf("%s is alive", what)
		}
	}
}

func TestCloseMayComeAtAnyTime(t *testing.T) {
	t.Parallel()
	pid := child(t).Process.Pid
	w := startWatcher(t)
	for range 100 {
		p := open(t, pid)
		var wg sync.WaitGroup
		for _, use := range []func(){
			func() { w.Watch(p, func() { t.Error("it has not ended") }) },
			func() { w.Forget(p) },
			func() { p.Alive() },
			func() { p.Signal(0) },
			func() { p.Cgroup() },
			func() {
				if dup, err := p.Dup(); err == nil {
					dup.Close()
				}
			},
			func() { p.Close() },
		} {
			wg.Go(use)
		}
		wg.Wait()
	}
}

func TestADescriptorFromElsewhereIsTakenOver(t *testing.T) {
	t.Parallel()
	cmd := child(t)
	theirs := pidfdOf(t, cmd.Process.Pid)
	ours, err := unix.Dup(theirs)
	if err != nil {
		t.Fatal(err)
	}
	p, err := proc.FromFD(ours)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if p.PID() != cmd.Process.Pid {
		t.Errorf("FromFD found process %d, want %d", p.PID(), cmd.Process.Pid)
	}
	if err := p.WithFD(func(fd int) error {
		if fd == ours {
			return nil // the number was free again
		}
		return isClosed(ours)
	}); err != nil {
		t.Error(err)
	}
	// Else its owner could not wait for the process any more.
	flags, err := unix.FcntlInt(uintptr(theirs), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_NONBLOCK != 0 {
		t.Errorf("the sender's descriptor has the flags %#x, %v", flags, err)
	}
}

func TestWhatIsNoPIDFDIsRefusedAndClosed(t *testing.T) {
	t.Parallel()
	cmd := child(t)
	reaped := pidfdOf(t, cmd.Process.Pid)
	end(cmd)
	thread, err := unix.PidfdOpen(unix.Gettid(), unix.PIDFD_THREAD)
	if err != nil {
		t.Logf("this kernel has no pidfds of threads: %v", err)
	}
	file, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		fd   int
		want error
	}{
		{"a reaped process", dup(t, reaped), unix.ESRCH},
		{"a thread", thread, unix.EINVAL},
		{"a file", file, unix.EBADF},
		{"nothing", 1 << 20, fs.ErrNotExist},
	} {
		if c.fd < 0 {
			continue
		}
		p, err := proc.FromFD(c.fd)
		if err == nil && c.name == "a thread" {
			p.Close() // the main thread is its process
			continue
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, %v, want %v", c.name, p, err, c.want)
		}
	}
}

func TestTheDescriptorIsLentOut(t *testing.T) {
	t.Parallel()
	cmd := child(t)
	p := open(t, cmd.Process.Pid)
	broken := errors.New("broken")
	if err := p.WithFD(func(fd int) error {
		if err := unix.PidfdSendSignal(fd, 0, nil, 0); err != nil {
			return err
		}
		return broken
	}); err != broken {
		t.Errorf("WithFD returned %v, want %v", err, broken)
	}
}

func BenchmarkPin(b *testing.B) {
	pid := child(b).Process.Pid
	for b.Loop() {
		p, err := proc.Open(pid)
		if err != nil || !p.Alive() {
			b.Fatal(err)
		}
		p.Close()
	}
}

func BenchmarkAlive(b *testing.B) {
	p := open(b, child(b).Process.Pid)
	for b.Loop() {
		if !p.Alive() {
			b.Fatal("it is dead")
		}
	}
}

func receive(t *testing.T, from <-chan error) error {
	t.Helper()
	select {
	case err := <-from:
		return err
	case <-time.After(patience):
		t.Fatal("nothing happened")
		return nil
	}
}

func pidfdOf(t *testing.T, pid int) int {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func dup(t *testing.T, fd int) int {
	t.Helper()
	fd, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func isClosed(fd int) error {
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
		return fmt.Errorf("descriptor %d is still open", fd)
	}
	return nil
}
