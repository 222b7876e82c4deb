package inside_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/inside"
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
