package inside_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/pkg/machine1"
)

const osRelease = "# comment\nNAME=\"Test OS\"\nID=test\nX_OWN='kept as it is'\nID=again\n"

var osReleaseFields = map[string]string{"NAME": "Test OS", "ID": "again", "X_OWN": "kept as it is"}

func TestOSRelease(t *testing.T) {
	t.Parallel()
	file := order{Do: "write", Path: "/usr/lib/os-release", Text: osRelease}
	tests := []struct {
		name   string
		orders []order
		fails  string // "" if osReleaseFields are to be read
	}{
		{"the file in /usr/lib counts", []order{file}, ""},
		{"the file in /etc counts first", []order{
			{Do: "write", Path: "/usr/lib/os-release", Text: "ID=other"},
			{Do: "write", Path: "/etc/os-release", Text: osRelease}}, ""},
		{"a relative link", []order{file, {Do: "symlink", Path: "/etc/os-release", Text: "../usr/lib/os-release"}}, ""},
		{"an absolute link stays inside", []order{file, {Do: "symlink", Path: "/etc/os-release", Text: "/usr/lib/os-release"}}, ""},
		{"a link above the root stays inside", []order{file, {Do: "symlink", Path: "/etc/os-release", Text: "../../../../../usr/lib/os-release"}}, ""},
		{"a dangling link is no file", []order{file, {Do: "symlink", Path: "/etc/os-release", Text: "/nowhere"}}, ""},
		{"a link to /proc/1/root", []order{file, {Do: "symlink", Path: "/etc/os-release", Text: "/proc/1/root/usr/lib/os-release"}}, "too many levels"},
		{"a link to itself", []order{{Do: "symlink", Path: "/etc/os-release", Text: "os-release"}}, "too many levels"},
		{"a link to a file of a process", []order{{Do: "symlink", Path: "/etc/os-release", Text: "/proc/1/environ"}}, "file of the kernel"},
		{"a link to a file of sysfs", []order{{Do: "symlink", Path: "/etc/os-release", Text: "/sys/kernel/notes"}}, "file of the kernel"},
		{"a directory", []order{{Do: "mkdir", Path: "/etc/os-release"}}, "no regular file"},
		{"a FIFO", []order{{Do: "fifo", Path: "/etc/os-release"}}, "no regular file"},
		{"a sparse file of 10 GB", []order{{Do: "sparse", Path: "/etc/os-release", N: 10 << 30}}, "too large"},
		{"a file one byte too large", []order{{Do: "sparse", Path: "/etc/os-release", N: 64<<10 + 1}}, "too large"},
		{"no text", []order{{Do: "write", Path: "/etc/os-release", Text: "ID=a\x00b"}}, "not UTF-8"},
		{"nothing", nil, "Failed to get OS release: No such file or directory"},
	}
	for _, private := range []bool{false, true} {
		for _, test := range tests {
			t.Run(test.name+privacy(private), func(t *testing.T) {
				t.Parallel()
				m := startMachine(t, bare, private)
				for _, o := range test.orders {
					m.do(t, o)
				}
				got, err := newGuard(t).OSRelease(t.Context(), m.leader)
				if test.fails != "" {
					if err == nil || !strings.Contains(err.Error(), test.fails) {
						t.Errorf("got %v, %v; want an error with %q", got, err, test.fails)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(osReleaseFields, got); diff != "" {
					t.Errorf("os-release (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// Who is root of a user namespace may mount files of the host that he cannot read
// himself, and lead to others that he cannot reach.
func TestOSReleaseIsNothingThatTheMachineCannotRead(t *testing.T) {
	t.Parallel()
	host := t.TempDir()
	for _, err := range []error{
		os.Chmod(filepath.Dir(host), 0o755),
		os.WriteFile(host+"/secret", []byte("SECRET=1\n"), 0o640),
		os.WriteFile(host+"/public", []byte(osRelease), 0o644),
		os.Mkdir(host+"/closed", 0o700),
		os.WriteFile(host+"/closed/file", []byte("SECRET=1\n"), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	m, g := startMachine(t, whole, true), newGuard(t)
	m.do(t, order{Do: "tmpfs", Path: "/etc"})
	m.do(t, order{Do: "write", Path: "/etc/os-release"})
	for _, file := range []string{"/secret", "/public"} {
		m.do(t, order{Do: "bind", Path: "/etc/os-release", Text: host + file})
		got, err := g.OSRelease(t.Context(), m.leader)
		if file == "/public" {
			if diff := cmp.Diff(osReleaseFields, got); diff != "" || err != nil {
				t.Errorf("a file of nobody's that everybody may read: %v (-want +got):\n%s", err, diff)
			}
		} else if err == nil || !strings.Contains(err.Error(), "machine's own root") {
			t.Errorf("a secret: got %v, %v", got, err)
		}
		m.do(t, order{Do: "unmount", Path: "/etc/os-release"})
	}
	m.do(t, order{Do: "remove", Path: "/etc/os-release"})
	m.do(t, order{Do: "symlink", Path: "/etc/os-release", Text: host + "/closed/file"})
	if got, err := g.OSRelease(t.Context(), m.leader); err == nil {
		t.Errorf("a file out of reach: got %v", got)
	}
	text, err := g.ReadFile(t.Context(), rootless(t), host+"/secret", 100)
	if err == nil {
		t.Errorf("for a machine without root: got %q", text)
	}
	if text, err := g.ReadFile(t.Context(), rootless(t), host+"/public", 100); err != nil || string(text) != osRelease {
		t.Errorf("for a machine without root: got %q, %v", text, err)
	}
}

func TestOSReleaseErrorsKeepTheirKind(t *testing.T) {
	t.Parallel()
	m := startMachine(t, bare, false)
	g := newGuard(t)
	if _, err := g.OSRelease(t.Context(), m.leader); !errors.Is(err, machine1.ErrFileNotFound) {
		t.Errorf("without a file: got %v, want file not found", err)
	}
	m.kill()
	if _, err := g.OSRelease(t.Context(), m.leader); !errors.Is(err, unix.ESRCH) || errors.Is(err, machine1.ErrFileNotFound) {
		t.Errorf("after the machine's death: got %v, want no such process", err)
	}
}

// A device is never opened, whatever opening it would start.
func TestDevicesAreNotOpened(t *testing.T) {
	t.Parallel()
	m := startMachine(t, bare, false)
	for _, device := range []string{"1:5", "1:3", "5:0", "10:130"} {
		m.do(t, order{Do: "character", Path: "/etc/os-release", Text: device})
		_, err := newGuard(t).OSRelease(t.Context(), m.leader)
		if err == nil || !strings.Contains(err.Error(), "no regular file") {
			t.Errorf("device %s: got %v", device, err)
		}
		m.do(t, order{Do: "remove", Path: "/etc/os-release"})
	}
}

func TestARacingMachineShowsNothingOfTheHost(t *testing.T) {
	t.Parallel()
	m := startMachine(t, bare, false)
	m.do(t, order{Do: "mkdir", Path: "/a"})
	m.do(t, order{Do: "write", Path: "/a/machine-id", Text: "inside"})
	m.do(t, order{Do: "mkdir", Path: "/etc"})
	m.do(t, order{Do: "race", Path: "/a", Text: "/proc/1/root/etc"})
	g := newGuard(t)
	read := 0
	for range 20_000 {
		text, err := g.ReadFile(t.Context(), m.leader, "a/machine-id", 100)
		if err == nil {
			read++
		}
		if err == nil && string(text) != "inside" {
			t.Fatalf("read %q from outside", text)
		}
	}
	if read == 0 {
		t.Error("nothing was read at all")
	}
}

func TestOSReleaseOfTheHost(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/etc/os-release"); err != nil {
		t.Skip("this host has no os-release")
	}
	got, err := newGuard(t).OSRelease(t.Context(), nil)
	if err != nil || got["ID"] == "" {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestOpenRoot(t *testing.T) {
	t.Parallel()
	m := startMachine(t, bare, true)
	m.do(t, order{Do: "mkdir", Path: "/only-here"})
	root, err := newGuard(t).OpenRoot(t.Context(), m.leader)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	names, err := root.Readdirnames(-1)
	if err != nil || !strings.Contains(strings.Join(names, " "), "only-here") {
		t.Errorf("got %v, %v", names, err)
	}
}

func BenchmarkOSRelease(b *testing.B) {
	for _, private := range []bool{false, true} {
		b.Run("machine"+privacy(private), func(b *testing.B) {
			m := startMachine(b, bare, private)
			m.do(b, order{Do: "write", Path: "/usr/lib/os-release", Text: osRelease})
			m.do(b, order{Do: "symlink", Path: "/etc/os-release", Text: "../usr/lib/os-release"})
			g := inside.NewGuard(nil)
			for b.Loop() {
				if _, err := g.OSRelease(b.Context(), m.leader); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func privacy(private bool) string {
	if private {
		return " (user namespace)"
	}
	return ""
}
