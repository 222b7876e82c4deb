package inside_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machine1"
)

func TestBindsThatFailLeaveNothing(t *testing.T) {
	t.Parallel()
	dir := hostTree(t)
	if err := os.Symlink("of-root", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		orders []order
		bind   inside.Bind
		fails  string
		kind   error
	}{
		{"no source", nil, inside.Bind{Source: dir + "/none", Destination: "/x/y", MakeDir: true}, "on the host", machine1.ErrFileNotFound},
		{"no destination", nil, inside.Bind{Source: dir, Destination: "/x/y"}, "there is no /x/y in the machine", machine1.ErrFileNotFound},
		{"a directory on a file", []order{{Do: "write", Path: "/f"}}, inside.Bind{Source: dir, Destination: "/f"}, "is a directory and the destination is not", unix.EINVAL},
		{"a file on a directory", []order{{Do: "mkdir", Path: "/d"}}, inside.Bind{Source: dir + "/link", Destination: "/d"}, "is no directory and the destination is one", unix.EINVAL},
		{"through a file", []order{{Do: "write", Path: "/f"}}, inside.Bind{Source: dir, Destination: "/f/x", MakeDir: true}, "not a directory", unix.ENOTDIR},
		{"a source that cannot be mapped", nil, inside.Bind{Source: "/proc/sys", Destination: "/x/y", MakeDir: true, IDMapped: true}, "ID-mapped", machine1.ErrInvalidArgs},
		{"the root", nil, inside.Bind{Source: dir, Destination: "/"}, "root directory", machine1.ErrInvalidArgs},
		{"a link to the root", []order{{Do: "symlink", Path: "/l", Text: "."}}, inside.Bind{Source: dir, Destination: "/l/"}, "root directory", machine1.ErrInvalidArgs},
		{"a directory on a link", []order{{Do: "symlink", Path: "/l", Text: "/mnt"}}, inside.Bind{Source: dir, Destination: "/l", MakeDir: true}, "symbolic link", unix.EINVAL},
		{"a file on what can only be a directory", nil, inside.Bind{Source: dir + "/of-root", Destination: "/x/", MakeDir: true}, "can only be one", unix.ENOTDIR},
		{"a dangling link", []order{{Do: "symlink", Path: "/l", Text: "/a/b/c"}}, inside.Bind{Source: dir, Destination: "/l/x", MakeDir: true}, "file exists", unix.EEXIST},
		{"a link loop", []order{{Do: "symlink", Path: "/l", Text: "l"}}, inside.Bind{Source: dir, Destination: "/l/x", MakeDir: true}, "too many levels", unix.ELOOP},
		{"a link to the host", []order{{Do: "symlink", Path: "/l", Text: "/proc/1/root"}}, inside.Bind{Source: dir, Destination: "/l/tmp"}, "too many levels", unix.ELOOP},
		{"a directory in proc", nil, inside.Bind{Source: dir, Destination: "/proc/new", MakeDir: true}, "cannot make new", nil},
		{"a file half way in sysfs", nil, inside.Bind{Source: dir + "/of-root", Destination: "/sys/new/f", MakeDir: true}, "cannot make new", nil},
	}
	for _, private := range []bool{false, true} {
		for _, test := range tests {
			if !private && test.bind.IDMapped {
				continue // nothing is mapped
			}
			t.Run(test.name+privacy(private), func(t *testing.T) {
				t.Parallel()
				m := startMachine(t, bare, private)
				for _, o := range test.orders {
					m.do(t, o)
				}
				before := m.do(t, order{Do: "list", Path: "/"})
				b := test.bind
				b.IDMapped = true
				err := newGuard(t).Bind(t.Context(), m.leader, "m", b)
				if err == nil || !strings.Contains(err.Error(), test.fails) || test.kind != nil && !errors.Is(err, test.kind) && machine1.ErrorName(err) != machine1.ErrorName(test.kind) {
					t.Errorf("got %v (%s), want an error with %q (%s)", err, machine1.ErrorName(err), test.fails, machine1.ErrorName(test.kind))
				}
				if !strings.HasPrefix(fmt.Sprint(err), "Failed to mount "+b.Source+" on "+b.Destination+" in machine's namespace: ") {
					t.Errorf("the text is %q", err)
				}
				if after := m.do(t, order{Do: "list", Path: "/"}); after != before {
					t.Errorf("before: %s, after: %s", before, after)
				}
			})
		}
	}
}

func TestLinksOfTheMachineStayInside(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"/mnt", "../../../../mnt", "../mnt"} {
		m := startMachine(t, bare, true)
		m.do(t, order{Do: "mkdir", Path: "/mnt"})
		m.do(t, order{Do: "mkdir", Path: "/a"})
		m.do(t, order{Do: "symlink", Path: "/a/l", Text: target})
		g := newGuard(t)
		b := inside.Bind{Source: hostTree(t), Destination: "/a/l/machd-test", IDMapped: true, MakeDir: true}
		if err := g.Bind(t.Context(), m.leader, "m", b); err != nil {
			t.Fatal(err)
		}
		if got := m.do(t, order{Do: "read", Path: "/mnt/machd-test/of-root"}); got != "of-root" {
			t.Errorf("inside: %q", got)
		}
		if got, err := mountsAt("/mnt/machd-test"); got != "0" || err != nil {
			t.Errorf("the host has %s mounts, %v", got, err)
		}
		if err := g.Unbind(t.Context(), m.leader, "/a/l/machd-test"); err != nil {
			t.Error(err)
		}
	}
}

func TestTheRecordOfAMachineGoesWithIt(t *testing.T) {
	t.Parallel()
	g, records := newGuard(t), t.TempDir()
	g.KeepBindsIn(records)
	b := inside.Bind{Source: hostTree(t), Destination: "/mnt", MakeDir: true}
	for range 3 {
		m := startMachine(t, bare, false)
		if err := g.Bind(t.Context(), m.leader, "m", b); err != nil {
			t.Fatal(err)
		}
		m.kill()
	}
	if left, err := os.ReadDir(records); err != nil || len(left) != 1 {
		t.Errorf("recorded: %v, %v; want the last machine", left, err)
	}
}

func TestWhoHasNoMountNamespaceOfItsOwn(t *testing.T) {
	t.Parallel()
	self, err := proc.Open(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	g := newGuard(t)
	b := inside.Bind{Source: "/etc", Destination: "/mnt"}
	if err := g.Bind(t.Context(), self, "m", b); !errors.Is(err, unix.EINVAL) {
		t.Errorf("bind: %v", err)
	}
	if err := g.Unbind(t.Context(), self, "/mnt"); !errors.Is(err, unix.EINVAL) {
		t.Errorf("unbind: %v", err)
	}
	if err := g.Bind(t.Context(), nil, "m", b); !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ESRCH) {
		t.Errorf("bind without a leader: %v", err)
	}
}

func TestABindIntoAFileSystemThatHangs(t *testing.T) {
	t.Parallel()
	m := startMachine(t, bare, false)
	m.do(t, order{Do: "mkdir", Path: "/hang"})
	m.do(t, order{Do: "hang", Path: "/hang"})
	g := inside.NewImpatientGuard(slog.New(slog.DiscardHandler), impatience)
	g.KeepBindsIn(t.TempDir())
	dir := hostTree(t)
	start := time.Now()
	err := g.Bind(t.Context(), m.leader, "m", inside.Bind{Source: dir, Destination: "/hang/a/b", MakeDir: true})
	if !errors.Is(err, machine1.ErrTimeout) {
		t.Errorf("got %v", err)
	}
	err = g.Bind(t.Context(), m.leader, "m", inside.Bind{Source: dir, Destination: "/mnt", MakeDir: true})
	if !errors.Is(err, inside.ErrBusy) {
		t.Errorf("the next one: %v", err)
	}
	if took := time.Since(start); took > 10*impatience {
		t.Errorf("it took %v", took)
	}
	other := startMachine(t, bare, false)
	if err := g.Bind(t.Context(), other.leader, "o", inside.Bind{Source: dir, Destination: "/mnt", MakeDir: true}); err != nil {
		t.Errorf("another machine: %v", err)
	}
}

// Not parallel: it counts descriptors and mounts.
func TestAThousandBindsLeaveNothing(t *testing.T) {
	dir := hostTree(t)
	m := startMachine(t, bare, true)
	g := newGuard(t)
	ours := func() int {
		table, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(table), filepath.Base(filepath.Dir(dir)))
	}
	g.Unbind(t.Context(), m.leader, "/mnt") // opens what stays open for ever
	mounts, open := ours(), descriptors(t)
	b := inside.Bind{Source: dir, Destination: "/mnt/x", MakeDir: true, IDMapped: true}
	for range 1000 {
		if err := g.Bind(t.Context(), m.leader, "m", b); err != nil {
			t.Fatal(err)
		}
		if err := g.Unbind(t.Context(), m.leader, b.Destination); err != nil {
			t.Fatal(err)
		}
	}
	if got := ours(); got != mounts {
		t.Errorf("the host has %d mounts, had %d", got, mounts)
	}
	if got := m.do(t, order{Do: "mounts", Path: "/mnt/x"}); got != "0" {
		t.Errorf("the machine has %s mounts", got)
	}
	eventually(t, "descriptors go back", func() bool { return descriptors(t) <= open })
}
