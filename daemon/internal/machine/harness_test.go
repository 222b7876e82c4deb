package machine

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machine1"
)

const patience = 10 * time.Second

// TestMain fails the package if its tests leave descriptors or goroutines.
func TestMain(m *testing.M) {
	flag.Parse()
	warmUp()
	fds, goroutines := openFDs(), runtime.NumGoroutine()
	code := m.Run()
	if fuzzing := flag.Lookup("test.fuzz"); fuzzing != nil && fuzzing.Value.String() != "" {
		os.Exit(code) // the fuzzer keeps some of its own
	}
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); runtime.Gosched() {
		if openFDs() <= fds && runtime.NumGoroutine() <= goroutines {
			os.Exit(code)
		}
	}
	fmt.Fprintf(os.Stderr, "left over: %d descriptors of %d, %d goroutines of %d\n",
		openFDs(), fds, runtime.NumGoroutine(), goroutines)
	os.Exit(max(code, 1))
}

// warmUp has the runtime open what it keeps for good, its poller above all.
func warmUp() {
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
	_ = exec.Command("true").Run()
}

func openFDs() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

// world is a Manager with what surrounds it.
type world struct {
	*Manager
	t      *testing.T
	dir    string
	pid1   *fakePID1
	events chan Event
}

func newWorld(t *testing.T) *world { return newWorldIn(t, t.TempDir()) }

// newWorldIn has a Manager on dir, which runs until the test ends.
func newWorldIn(t *testing.T, dir string) *world {
	t.Helper()
	w := idleWorldIn(t, dir)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := w.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return w
}

// idleWorldIn has a Manager that does not run.
func idleWorldIn(t *testing.T, dir string) *world {
	t.Helper()
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	id := []byte("0123456789abcdef0123456789abcdef\n")
	if err := os.WriteFile(filepath.Join(root, "etc/machine-id"), id, 0o644); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: dir, pid1: newFakePID1(), events: make(chan Event, 1000)}
	m, err := New(Config{
		Dir:   dir,
		Root:  root,
		Units: w.pid1,
		Emit:  func(e Event) { w.events <- e },
		Log:   slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Manager = m
	t.Cleanup(func() {
		for m := range w.View().All() {
			closeProcesses(m.Leader, m.Supervisor)
		}
	})
	return w
}

// wantEvent waits for the next event, which must be "+name" or "-name".
func (w *world) wantEvent(want string) Event {
	w.t.Helper()
	select {
	case e := <-w.events:
		if got := describe(e); got != want {
			w.t.Fatalf("event %s, want %s", got, want)
		}
		return e
	case <-time.After(patience):
		w.t.Fatalf("no event, want %s", want)
	}
	panic("unreachable")
}

func (w *world) wantNoEvent() {
	w.t.Helper()
	select {
	case e := <-w.events:
		w.t.Fatalf("event %s, want none", describe(e))
	default:
	}
}

func describe(e Event) string {
	if e.Added {
		return "+" + e.Machine.Name
	}
	return "-" + e.Machine.Name
}

func (w *world) get(name string) Machine {
	w.t.Helper()
	m, ok := w.View().Get(name)
	if !ok {
		w.t.Fatalf("no machine %q", name)
	}
	return m
}

func (w *world) exists(name string) bool {
	_, err := os.Lstat(filepath.Join(w.dir, name))
	return err == nil
}

// register registers a container that p leads.
func (w *world) register(name string, p *process) Machine {
	w.t.Helper()
	m, err := w.Register(w.t.Context(), registrationOf(name, p))
	if err != nil {
		w.t.Fatal(err)
	}
	w.wantEvent("+" + name)
	return m
}

// create creates a container that p leads, and has its job done.
func (w *world) create(name string, p *process) Machine {
	w.t.Helper()
	m, err := w.Create(w.t.Context(), registrationOf(name, p), nil, false)
	if err != nil {
		w.t.Fatal(err)
	}
	w.wantEvent("+" + name)
	w.pid1.finish(m.ScopeJob, "done")
	<-m.life.opened
	return w.get(name)
}

func registrationOf(name string, p *process) Registration {
	return Registration{
		Name:          name,
		Service:       "test",
		Class:         machine1.ClassContainer,
		RootDirectory: "/srv/" + name,
		Leader:        p.open(),
	}
}

// A process is a real child that sleeps.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
}

// start starts a child in a cgroup, in that of the test if it is "".
func start(t *testing.T, cgroup string) *process { return startCommand(t, cgroup, "sleep", "600") }

func startCommand(t *testing.T, cgroup string, argv ...string) *process {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	if cgroup != "" {
		dir, err := os.Open(filepath.Join(cgroupRoot(t), cgroup))
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{t, cmd}
	t.Cleanup(p.kill)
	return p
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) open() *proc.PIDFD {
	p.t.Helper()
	fd, err := proc.Open(p.pid())
	if err != nil {
		p.t.Fatal(err)
	}
	return fd
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

func (p *process) alive() bool { return p.cmd.Process.Signal(syscall.Signal(0)) == nil }

var cgroupNumber atomic.Uint64

// newUnit makes a cgroup as PID 1 would for a service, with subgroups below,
// and returns its name.
func newUnit(t *testing.T, subgroups ...string) string {
	t.Helper()
	root := cgroupRoot(t)
	name := fmt.Sprintf("machd-test-%d-%d.service", os.Getpid(), cgroupNumber.Add(1))
	for _, group := range append([]string{""}, subgroups...) {
		if err := os.MkdirAll(filepath.Join(root, name, group), 0o755); err != nil {
			t.Skipf("needs a writable cgroup tree: %v", err)
		}
	}
	t.Cleanup(func() { removeCgroup(filepath.Join(root, name)) })
	return name
}

func removeCgroup(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			removeCgroup(filepath.Join(dir, e.Name()))
		}
	}
	_ = os.Remove(dir)
}

// cgroupRoot returns where the unified hierarchy is mounted.
func cgroupRoot(t *testing.T) string {
	t.Helper()
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if strings.Contains(lines.Text(), " - cgroup2 ") && fields[3] == "/" {
			return fields[4]
		}
	}
	t.Skip("needs the unified cgroup hierarchy")
	return ""
}
