package inside_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machine1"
)

func TestCheckCopy(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		source, destination string
		want                error
	}{
		{"/a", "/b", nil},
		{"/a/b/", "/c/", nil},
		{"/a", "", nil},
		{"a", "/b", machine1.ErrInvalidArgs},
		{"/a", "b", machine1.ErrInvalidArgs},
		{"", "/b", machine1.ErrInvalidArgs},
		{"/a/../b", "/b", machine1.ErrInvalidArgs},
		{"/a//b", "/b", machine1.ErrInvalidArgs},
		{"/a\x00", "/b", machine1.ErrInvalidArgs},
		{"/", "/b", unix.EADDRNOTAVAIL},
		{"/a", "/", unix.EADDRNOTAVAIL},
	} {
		source, destination, err := inside.CheckCopy(test.source, test.destination)
		if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%q %q: got %v, want %v", test.source, test.destination, err, test.want)
		}
		if err == nil && (source != test.source || destination != test.destination && destination != source) {
			t.Errorf("%q %q became %q %q", test.source, test.destination, source, destination)
		}
	}
}

func ownerOf(tb testing.TB, path string) string {
	tb.Helper()
	var stat unix.Stat_t
	if err := unix.Lstat(path, &stat); err != nil {
		tb.Fatal(err)
	}
	return fmt.Sprintf("%d:%d", stat.Uid, stat.Gid)
}

// sourceTree makes files of root and of user 1000 on the host.
func sourceTree(tb testing.TB) string {
	tb.Helper()
	dir := tb.TempDir() + "/tree"
	for _, err := range []error{
		os.MkdirAll(dir+"/sub", 0o700),
		os.WriteFile(dir+"/sub/file", []byte("of the host"), 0o600),
		os.Chown(dir+"/sub/file", 1000, 1001),
		unix.Mkfifo(dir+"/fifo", 0o640),
		os.Symlink("/etc/shadow", dir+"/link"),
	} {
		if err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

func TestOwnersOfCopies(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name          string
		private       bool
		ownership     inside.Ownership
		inside, again string // the owner of what is 1000:1001 on the host: inside, and back on the host
	}{
		{"flat, ids of the host", false, inside.OwnershipFlat, "1000:1001", "1000:1001"},
		{"mapped, ids of the host", false, inside.OwnershipMapped, "1000:1001", "1000:1001"},
		{"flat, ids of its own", true, inside.OwnershipFlat, "0:0", "0:0"},
		{"mapped, ids of its own", true, inside.OwnershipMapped, "1000:1001", "1000:1001"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m, g, dir := startMachine(t, bare, test.private), newGuard(t), sourceTree(t)
			// /run is a file system of the machine's own making.
			for _, to := range []string{"/copy", "/run/copy"} {
				err := g.CopyTo(t.Context(), m.leader, inside.Copy{Source: dir, Destination: to, Ownership: test.ownership})
				if err != nil {
					t.Fatalf("to %s: %v", to, err)
				}
				if got := m.do(t, order{Do: "owner", Path: to + "/sub/file"}); got != test.inside {
					t.Errorf("in %s it is owned by %s, want %s", to, got, test.inside)
				}
				back := t.TempDir() + "/back"
				err = g.CopyFrom(t.Context(), m.leader, inside.Copy{Source: to, Destination: back, Ownership: test.ownership})
				if err != nil {
					t.Fatalf("from %s: %v", to, err)
				}
				if got := ownerOf(t, back+"/sub/file"); got != test.again {
					t.Errorf("back from %s it is owned by %s, want %s", to, got, test.again)
				}
				if text, err := os.ReadFile(back + "/sub/file"); err != nil || string(text) != "of the host" {
					t.Errorf("back from %s it is %q %v", to, text, err)
				}
			}
		})
	}
}

func TestAnOwnerThatTheMachineCannotHave(t *testing.T) {
	t.Parallel()
	m, g, dir := startMachine(t, bare, true), newGuard(t), sourceTree(t)
	if err := os.Chown(dir+"/sub/file", 70000, 0); err != nil {
		t.Fatal(err)
	}
	c := inside.Copy{Source: dir, Destination: "/copy", Ownership: inside.OwnershipMapped}
	err := g.CopyTo(t.Context(), m.leader, c)
	if !errors.Is(err, unix.EOVERFLOW) || !strings.Contains(err.Error(), "tree/sub/file") || !strings.Contains(err.Error(), "70000") {
		t.Errorf("got %v", err)
	}
	if got := m.do(t, order{Do: "list", Path: "/"}); strings.Contains(got, "copy") {
		t.Errorf("a part of the copy is left: %s", got)
	}
}

// A directory that the machine's root may not write to is none to copy to.
func TestACopyToWhatIsNotTheMachines(t *testing.T) {
	t.Parallel()
	m, dir := startMachine(t, whole, true), sourceTree(t)
	place := t.TempDir() // in the machine too, and of nobody whom it has
	for _, ownership := range []inside.Ownership{inside.OwnershipFlat, inside.OwnershipMapped} {
		c := inside.Copy{Source: dir, Destination: place + "/copy", Ownership: ownership}
		if err := newGuard(t).CopyTo(t.Context(), m.leader, c); !errors.Is(err, unix.EACCES) {
			t.Errorf("got %v", err)
		}
	}
	if entries, err := os.ReadDir(place); len(entries) > 0 || err != nil {
		t.Errorf("there are %v, %v", entries, err)
	}
}

// rootless starts a machine of an ordinary user's: his own ids are all it has,
// and its files are the host's.
func rootless(tb testing.TB) *proc.PIDFD {
	tb.Helper()
	if os.Getuid() != 0 {
		tb.Skip("making a machine needs root")
	}
	const user = 1000
	ids := []syscall.SysProcIDMap{{ContainerID: user, HostID: user, Size: 1}}
	cmd := exec.Command("sleep", "infinity")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, UidMappings: ids, GidMappings: ids,
		GidMappingsEnableSetgroups: true, Credential: &syscall.Credential{Uid: user, Gid: user},
	}
	if err := cmd.Start(); err != nil {
		tb.Skipf("cannot make namespaces here: %v", err)
	}
	tb.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	leader, err := proc.Open(cmd.Process.Pid)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { leader.Close() })
	return leader
}

// Who has no root of his own does not get ours.
func TestACopyToAMachineWithoutRoot(t *testing.T) {
	t.Parallel()
	leader, file, place := rootless(t), t.TempDir()+"/file", t.TempDir()
	for _, err := range []error{os.WriteFile(file, nil, 0o644), os.Chown(file, 1000, 1000)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, ownership := range []inside.Ownership{inside.OwnershipFlat, inside.OwnershipMapped} {
		c := inside.Copy{Source: file, Destination: place + "/copy", Ownership: ownership}
		if err := newGuard(t).CopyTo(t.Context(), leader, c); !errors.Is(err, unix.ENXIO) {
			t.Errorf("got %v", err)
		}
	}
	if entries, err := os.ReadDir(place); len(entries) > 0 || err != nil {
		t.Errorf("there are %v, %v", entries, err)
	}
}

func TestPathsOfCopiesStayInTheMachine(t *testing.T) {
	t.Parallel()
	m, g, host := startMachine(t, bare, false), newGuard(t), t.TempDir()
	if err := os.WriteFile(host+"/secret", []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.do(t, order{Do: "mkdir", Path: "/real"})
	m.do(t, order{Do: "symlink", Path: "/absolute", Text: "/real"})
	m.do(t, order{Do: "symlink", Path: "/up", Text: "../../../../.." + host})
	m.do(t, order{Do: "write", Path: "/real/file", Text: "inside"})
	from := func(source string) error {
		return g.CopyFrom(t.Context(), m.leader, inside.Copy{Source: source, Destination: t.TempDir() + "/x"})
	}
	if err := from("/absolute/file"); err != nil {
		t.Errorf("through an absolute link of the machine: %v", err)
	}
	if err := from("/up/secret"); !errors.Is(err, unix.ENOENT) {
		t.Errorf("a secret of the host: got %v", err)
	}
	if err := from("/proc/1/environ"); !errors.Is(err, unix.EOPNOTSUPP) {
		t.Errorf("a file of the kernel: got %v", err)
	}
	err := g.CopyTo(t.Context(), m.leader, inside.Copy{Source: host + "/secret", Destination: "/up/other"})
	if !errors.Is(err, unix.ENOENT) {
		t.Errorf("to a place of the host: got %v", err)
	}
	if entries, _ := os.ReadDir(host); len(entries) != 1 {
		t.Errorf("the host's directory has %v", entries)
	}
}

func TestACopyFromAFileSystemThatHangs(t *testing.T) {
	t.Parallel()
	m := startMachine(t, bare, false)
	m.do(t, order{Do: "mkdir", Path: "/tree/hang"})
	m.do(t, order{Do: "hang", Path: "/tree/hang"})
	g := inside.NewImpatientGuard(slog.New(slog.DiscardHandler), impatience)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start, c := time.Now(), inside.Copy{Source: "/tree", Destination: t.TempDir() + "/x"}
	err := g.CopyFrom(ctx, m.leader, c)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	for range 10 {
		if err := g.CopyFrom(t.Context(), m.leader, c); !errors.Is(err, inside.ErrBusy) {
			t.Errorf("the next one: %v", err)
		}
	}
	if took := time.Since(start); took > 10*impatience {
		t.Errorf("it took %v", took)
	}
	if _, err := g.OSRelease(t.Context(), m.leader); !errors.Is(err, machine1.ErrFileNotFound) {
		t.Errorf("a look-up meanwhile: %v", err)
	}
}

// A mount point is known without asking what is mounted there, so a copy only
// comes to wait for the file itself.
func TestACopyOfAFileThatHangs(t *testing.T) {
	t.Parallel()
	host := t.TempDir()
	if err := os.WriteFile(host+"/file", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, start := range map[string]func(*inside.Guard, *fakeMachine) error{
		"from": func(g *inside.Guard, m *fakeMachine) error {
			return g.CopyFrom(t.Context(), m.leader, inside.Copy{Source: "/hang/file", Destination: host + "/x"})
		},
		"to": func(g *inside.Guard, m *fakeMachine) error {
			return g.CopyTo(t.Context(), m.leader, inside.Copy{Source: host + "/file", Destination: "/hang/file"})
		},
	} {
		m := startMachine(t, bare, false)
		m.do(t, order{Do: "mkdir", Path: "/hang"})
		m.do(t, order{Do: "hang", Path: "/hang"})
		g := inside.NewImpatientGuard(slog.New(slog.DiscardHandler), impatience)
		answer := make(chan error, 1)
		go func() { answer <- start(g, m) }()
		select {
		case err := <-answer:
			if !errors.Is(err, machine1.ErrTimeout) {
				t.Errorf("%s: got %v", name, err)
			}
		case <-time.After(20 * impatience):
			t.Errorf("%s: no answer", name)
		}
	}
}

func TestTheHostIsNoMachine(t *testing.T) {
	t.Parallel()
	err := newGuard(t).CopyTo(t.Context(), nil, inside.Copy{Source: "/etc/hostname", Destination: "/x"})
	if !errors.Is(err, machine1.ErrNotSupported) {
		t.Errorf("got %v", err)
	}
}
