package inside_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/daemon/internal/proc"
)

func init() { runtime.LockOSThread() }

// The test binary is also the first process of the machines it tests with, and
// that of errands in them.
func TestMain(m *testing.M) {
	if kind := os.Getenv(kindVariable); kind != "" {
		if kind == aUser {
			runUser()
		}
		runMachine(kind)
	}
	if len(os.Args) == 2 && os.Args[1] == inside.ErrandArgument {
		if err := inside.RunErrand(context.Background(), slog.Default()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const (
	kindVariable = "MACHD_TEST_MACHINE"

	bare  = "bare"  // a tmpfs with what the test puts there
	whole = "whole" // the host's files, with a /run and a /dev/pts of its own

	aUser = "user" // no machine, but a daemon of an ordinary user

	base = 0x80000 // of the user ids of a machine with a user namespace
)

// A fakeMachine is a process in namespaces of its own that does as it is told.
type fakeMachine struct {
	leader  *proc.PIDFD
	orders  io.Writer
	replies *bufio.Reader
	kill    func()
}

// idMaps are the user and group ids of a machine with a user namespace.
type idMaps struct{ users, groups []syscall.SysProcIDMap }

// shiftedIDs are the ids of a private machine.
var shiftedIDs = idMaps{
	users:  []syscall.SysProcIDMap{{ContainerID: 0, HostID: base, Size: 65536}},
	groups: []syscall.SysProcIDMap{{ContainerID: 0, HostID: base, Size: 65536}},
}

// complexIDs have root where one shift does not tell, and its group elsewhere.
var complexIDs = idMaps{
	users: []syscall.SysProcIDMap{
		{ContainerID: 1000, HostID: base, Size: 64536}, {ContainerID: 0, HostID: 0xa0000, Size: 1000},
	},
	groups: []syscall.SysProcIDMap{
		{ContainerID: 0, HostID: 0xb0007, Size: 500}, {ContainerID: 500, HostID: 0xc0000, Size: 60000},
	},
}

var kindsOfIDs = []struct {
	name string
	ids  *idMaps
}{
	{"a machine with the host's ids", nil},
	{"a machine with shifted ids", &shiftedIDs},
	{"a machine with many ranges of ids", &complexIDs},
}

// startMachine starts a machine that ends with the test. The ids of a private
// one are shifted by base.
func startMachine(tb testing.TB, kind string, private bool) *fakeMachine {
	tb.Helper()
	if private {
		return startMapped(tb, kind, &shiftedIDs)
	}
	return startMapped(tb, kind, nil)
}

// startMapped starts a machine with the ids, or with the host's.
func startMapped(tb testing.TB, kind string, ids *idMaps) *fakeMachine {
	tb.Helper()
	if os.Getuid() != 0 {
		tb.Skip("making a machine needs root")
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), kindVariable+"="+kind)
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{fuseNode(tb)}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
	}
	if ids != nil {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = ids.users, ids.groups
		cmd.SysProcAttr.GidMappingsEnableSetgroups = true
		cmd.SysProcAttr.Credential = &syscall.Credential{}
	}
	orders, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	replies, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Skipf("cannot make namespaces here: %v", err)
	}
	m := &fakeMachine{orders: orders, replies: bufio.NewReader(replies)}
	m.kill = func() {
		cmd.Process.Kill()
		cmd.Wait()
	}
	tb.Cleanup(m.kill)
	m.leader, err = proc.Open(cmd.Process.Pid)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { m.leader.Close() })
	m.reply(tb)
	return m
}

// fuseNode returns /dev/fuse as it is on most hosts: open to everybody. A
// machine opens it with ids of its own.
func fuseNode(tb testing.TB) *os.File {
	tb.Helper()
	// Device nodes work where other devices are, not everywhere else.
	dir, err := os.MkdirTemp("/dev", "machd-test-")
	if err != nil {
		tb.Skipf("cannot make a directory for devices: %v", err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "fuse")
	if err := unix.Mknod(path, unix.S_IFCHR, int(unix.Mkdev(10, 229))); err != nil {
		tb.Skipf("cannot make a device node here: %v", err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		tb.Fatal(err)
	}
	f, err := os.OpenFile(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { f.Close() })
	return f
}

// An order is one thing a machine can be told to do.
type order struct {
	Do   string
	Path string
	Text string
	N    int
}

func (m *fakeMachine) do(tb testing.TB, o order) string {
	tb.Helper()
	line, err := json.Marshal(o)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := fmt.Fprintf(m.orders, "%s\n", line); err != nil {
		tb.Fatal(err)
	}
	return m.reply(tb)
}

// tries is do for what fails: it returns why.
func (m *fakeMachine) tries(tb testing.TB, o order) string {
	tb.Helper()
	line, err := json.Marshal(o)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := fmt.Fprintf(m.orders, "%s\n", line); err != nil {
		tb.Fatal(err)
	}
	reply, err := m.replies.ReadString('\n')
	if err != nil || strings.HasPrefix(reply, "ok") {
		tb.Fatalf("the machine can: %s %v", reply, err)
	}
	return reply
}

func (m *fakeMachine) reply(tb testing.TB) string {
	tb.Helper()
	line, err := m.replies.ReadString('\n')
	if err != nil {
		tb.Fatalf("the machine died: %v", err)
	}
	word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	if word != "ok" {
		tb.Fatalf("the machine cannot: %s", rest)
	}
	return rest
}

func newGuard(tb testing.TB) *inside.Guard {
	g := inside.NewGuard(slog.New(slog.NewTextHandler(tb.Output(), nil)))
	g.KeepBindsIn(filepath.Join(tb.TempDir(), "binds"))
	return g
}

// descriptors returns how many descriptors this process has open.
func descriptors(tb testing.TB) int {
	tb.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		tb.Fatal(err)
	}
	return len(entries)
}

// eventually waits until condition holds.
func eventually(tb testing.TB, what string, condition func() bool) {
	tb.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			tb.Fatalf("%s: not within 10 s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
