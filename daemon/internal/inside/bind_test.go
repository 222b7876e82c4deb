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

func TestCheckBind(t *testing.T) {
	t.Parallel()
	const badSource = "Source path must be absolute and normalized."
	const badDestination = "Destination path must be absolute and normalized."
	tests := []struct{ source, destination, wantDestination, fails string }{
		{"/srv", "/mnt", "/mnt", ""},
		{"/srv", "", "/srv", ""},
		{"/srv/", "/mnt/x/", "/mnt/x/", ""},
		{"/", "/", "/", ""},
		{"srv", "/mnt", "", badSource},
		{"", "/mnt", "", badSource},
		{"/a/../b", "/mnt", "", badSource},
		{"/a/./b", "/mnt", "", badSource},
		{"/a//b", "/mnt", "", badSource},
		{"//", "/mnt", "", badSource},
		{"/" + strings.Repeat("a", unix.PathMax), "/mnt", "", badSource},
		{"/a", "mnt", "", badDestination},
		{"/a", "/mnt/..", "", badDestination},
	}
	for _, test := range tests {
		source, destination, err := inside.CheckBind(test.source, test.destination)
		if test.fails != "" {
			if !errors.Is(err, machine1.ErrInvalidArgs) || err.Error() != test.fails {
				t.Errorf("%q on %q: %v, want %q", test.source, test.destination, err, test.fails)
			}
			continue
		}
		if source != test.source || destination != test.wantDestination || err != nil {
			t.Errorf("%q on %q: %q, %q, %v", test.source, test.destination, source, destination, err)
		}
	}
}

// hostTree makes a directory of the host with files of root and of user 1000.
func hostTree(tb testing.TB) string {
	tb.Helper()
	dir := tb.TempDir()
	for name, owner := range map[string]int{"of-root": 0, "of-user": 1000} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(name), 0o600); err != nil {
			tb.Fatal(err)
		}
		if err := os.Chown(path, owner, owner); err != nil {
			tb.Skipf("making files of others needs root: %v", err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		tb.Fatal(err)
	}
	return dir
}

func TestABindShowsTheHostsOwners(t *testing.T) {
	t.Parallel()
	for _, kind := range kindsOfIDs {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			dir := hostTree(t)
			m := startMapped(t, bare, kind.ids)
			m.do(t, order{Do: "mkdir", Path: "/mnt/here"})
			b := inside.Bind{Source: dir, Destination: "/mnt/here", IDMapped: true}
			if err := newGuard(t).Bind(t.Context(), m.leader, "m", b); err != nil {
				t.Fatal(err)
			}
			for name, want := range map[string]string{"of-root": "0:0", "of-user": "1000:1000"} {
				if got := m.do(t, order{Do: "owner", Path: "/mnt/here/" + name}); got != want {
					t.Errorf("%s belongs to %s inside, want %s", name, got, want)
				}
				if got := m.do(t, order{Do: "read", Path: "/mnt/here/" + name}); got != name {
					t.Errorf("%s reads %q", name, got)
				}
			}
			m.do(t, order{Do: "write", Path: "/mnt/here/new"})
			var stat unix.Stat_t
			if err := unix.Stat(dir+"/new", &stat); err != nil || stat.Uid != 0 || stat.Gid != 0 {
				t.Errorf("a file made inside is %d:%d on the host, %v", stat.Uid, stat.Gid, err)
			}
		})
	}
}

func TestWithoutMappedOwnersAMachineWithIDsOfItsOwnIsRefused(t *testing.T) {
	t.Parallel()
	b := inside.Bind{Source: "/etc", Destination: "/mnt", MakeDir: true}
	for _, kind := range kindsOfIDs {
		m := startMapped(t, bare, kind.ids)
		err := newGuard(t).Bind(t.Context(), m.leader, "m", b)
		switch kind.ids {
		case nil:
			if err != nil {
				t.Errorf("%s: %v", kind.name, err)
			}
		case &shiftedIDs:
			const want = "Can't bind mount on container with user namespacing applied."
			if !errors.Is(err, machine1.ErrNotSupported) || err.Error() != want {
				t.Errorf("%s: %v", kind.name, err)
			}
		case &complexIDs:
			if machine1.ErrorName(err) != "System.Error.ENXIO" {
				t.Errorf("%s: %v", kind.name, err)
			}
		}
	}
}

func TestWhatABindMakes(t *testing.T) {
	t.Parallel()
	for _, kind := range kindsOfIDs {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			dir := hostTree(t)
			m := startMapped(t, bare, kind.ids)
			m.do(t, order{Do: "mkdir", Path: "/home/lena"})
			m.do(t, order{Do: "chown", Path: "/home/lena", N: 1000})
			m.do(t, order{Do: "symlink", Path: "/link", Text: "/home"})
			g := newGuard(t)
			for _, b := range []inside.Bind{
				{Source: dir, Destination: "/home/lena/a/b"},
				{Source: dir + "/of-root", Destination: "/link/file"},
				{Source: dir, Destination: "/run"},
			} {
				b.MakeDir, b.IDMapped = true, true
				if err := g.Bind(t.Context(), m.leader, "m", b); err != nil {
					t.Fatalf("%s: %v", b.Destination, err)
				}
			}
			if got := m.do(t, order{Do: "read", Path: "/home/file"}); got != "of-root" {
				t.Errorf("the file reads %q", got)
			}
			for _, made := range []string{"/home/lena/a/b", "/home/file", "/run"} {
				m.do(t, order{Do: "unmount", Path: made})
			}
			for path, want := range map[string]string{
				"/home": "file -rw-------,lena drwxr-xr-x", "/home/lena": "a drwxr-xr-x", "/home/lena/a": "b drwx------",
				"/run": "dbus drwxr-xr-x",
			} {
				if got := m.do(t, order{Do: "list", Path: path}); got != want && path != "/run" {
					t.Errorf("%s has %q, want %q", path, got, want)
				}
			}
			for _, path := range []string{"/home/file", "/home/lena/a", "/home/lena/a/b"} {
				if got := m.do(t, order{Do: "owner", Path: path}); got != "0:0" {
					t.Errorf("%s belongs to %s, want 0:0", path, got)
				}
			}
		})
	}
}

func TestAReadOnlyBind(t *testing.T) {
	t.Parallel()
	dir := hostTree(t)
	m := startMachine(t, bare, true)
	g := newGuard(t)
	b := inside.Bind{Source: dir, Destination: "/mnt", ReadOnly: true, MakeDir: true, IDMapped: true}
	if err := g.Bind(t.Context(), m.leader, "m", b); err != nil {
		t.Fatal(err)
	}
	if reply := m.tries(t, order{Do: "write", Path: "/mnt/new"}); !strings.Contains(reply, "read-only") {
		t.Errorf("writing: %q", reply)
	}
	if err := os.WriteFile(filepath.Join(dir, "host"), nil, 0o600); err != nil {
		t.Errorf("the host cannot write any more: %v", err)
	}
}

func TestBindsToOnePlaceDoNotPileUp(t *testing.T) {
	t.Parallel()
	for _, private := range []bool{false, true} {
		for _, shared := range []bool{false, true} {
			t.Run(fmt.Sprintf("mounts inside are shared: %v", shared)+privacy(private), func(t *testing.T) {
				t.Parallel()
				m := startMachine(t, bare, private)
				if shared {
					m.do(t, order{Do: "share"})
				}
				m.do(t, order{Do: "mkdir", Path: "/mnt"})
				m.do(t, order{Do: "tmpfs", Path: "/mnt"})
				g := newGuard(t)
				for n := range 3 {
					dir := hostTree(t)
					if err := os.WriteFile(dir+"/n", []byte(fmt.Sprint(n)), 0o644); err != nil {
						t.Fatal(err)
					}
					b := inside.Bind{Source: dir, Destination: "/mnt", IDMapped: true}
					if err := g.Bind(t.Context(), m.leader, "m", b); err != nil {
						t.Fatal(err)
					}
					if got := m.do(t, order{Do: "read", Path: "/mnt/n"}); got != fmt.Sprint(n) {
						t.Errorf("bind %d shows %s", n, got)
					}
					if got := m.do(t, order{Do: "mounts", Path: "/mnt"}); got != "1" {
						t.Errorf("there are %s mounts", got)
					}
				}
				if err := g.Unbind(t.Context(), m.leader, "/mnt"); err != nil {
					t.Fatal(err)
				}
				if got := m.do(t, order{Do: "mounts", Path: "/mnt"}); got != "0" {
					t.Errorf("%s mounts are left", got)
				}
			})
		}
	}
}

func TestMountsStayOnTheirSide(t *testing.T) {
	t.Parallel()
	dir := hostTree(t)
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("cannot mount here: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	for _, private := range []bool{false, true} {
		m := startMachine(t, bare, private)
		m.do(t, order{Do: "share"})
		b := inside.Bind{Source: dir, Destination: "/mnt", MakeDir: true, IDMapped: true}
		if err := newGuard(t).Bind(t.Context(), m.leader, "m", b); err != nil {
			t.Fatal(err)
		}
		m.do(t, order{Do: "tmpfs", Path: "/mnt/sub"})
		if got, err := mountsAt(dir + "/sub"); got != "0" || err != nil {
			t.Errorf("%s mounts of the machine on the host, %v", got, err)
		}
	}
}

func TestMountsBelowTheSourceAreNotShown(t *testing.T) {
	t.Parallel()
	dir := hostTree(t)
	if err := unix.Mount("tmpfs", dir+"/sub", "tmpfs", 0, ""); err != nil {
		t.Skipf("cannot mount here: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir+"/sub", unix.MNT_DETACH) })
	if err := os.WriteFile(dir+"/sub/f", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m := startMachine(t, bare, false)
	if err := newGuard(t).Bind(t.Context(), m.leader, "m", inside.Bind{Source: dir, Destination: "/mnt", MakeDir: true}); err != nil {
		t.Fatal(err)
	}
	if got := m.do(t, order{Do: "list", Path: "/mnt/sub"}); got != "" {
		t.Errorf("the machine sees %s", got)
	}
}

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

// What a link at the destination leads to need not even be there: the file takes
// the link's place.
func TestAFileIsPutOnALink(t *testing.T) {
	t.Parallel()
	for _, kind := range kindsOfIDs {
		m, g := startMapped(t, bare, kind.ids), newGuard(t)
		m.do(t, order{Do: "write", Path: "/etc/real", Text: "of the machine"})
		for _, target := range []string{"real", "/no/where", "link", "/proc/1/root/etc/real"} {
			m.do(t, order{Do: "symlink", Path: "/etc/link", Text: target})
			b := inside.Bind{Source: hostTree(t) + "/of-root", Destination: "/etc/link", IDMapped: true, MakeDir: true}
			if err := g.Bind(t.Context(), m.leader, "m", b); err != nil {
				t.Fatalf("%s: %v", target, err)
			}
			if got := m.do(t, order{Do: "read", Path: "/etc/link"}); got != "of-root" {
				t.Errorf("%s: it reads %q", target, got)
			}
			if got := m.do(t, order{Do: "read", Path: "/etc/real"}); got != "of the machine" {
				t.Errorf("%s: what it led to reads %q", target, got)
			}
			if err := g.Unbind(t.Context(), m.leader, "/etc/link"); err != nil {
				t.Errorf("%s: %v", target, err)
			}
			m.do(t, order{Do: "remove", Path: "/etc/link"})
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
	g := inside.NewImpatientGuard(slog.New(slog.DiscardHandler), 300*time.Millisecond)
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
	if took := time.Since(start); took > 3*time.Second {
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

func BenchmarkBind(b *testing.B) {
	dir := hostTree(b)
	m := startMachine(b, bare, true)
	g := newGuard(b)
	for b.Loop() {
		if err := g.Bind(b.Context(), m.leader, "m", inside.Bind{Source: dir, Destination: "/mnt", MakeDir: true, IDMapped: true}); err != nil {
			b.Fatal(err)
		}
		if err := g.Unbind(b.Context(), m.leader, "/mnt"); err != nil {
			b.Fatal(err)
		}
	}
}
