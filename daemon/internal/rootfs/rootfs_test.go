package rootfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/rootfs"
)

const limit = 100

func TestReadFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "secret"), "outside")
	root := filepath.Join(dir, "root")
	for _, sub := range []string{"etc", "usr/lib"} {
		if err := os.MkdirAll(filepath.Join(root, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, root+"/etc/file", "inside")
	write(t, root+"/etc/empty", "")
	write(t, root+"/etc/full", string(make([]byte, limit)))
	write(t, root+"/etc/huge", "")
	if err := os.Truncate(root+"/etc/huge", 10<<30); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(root+"/etc/fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	links := map[string]string{
		"etc/absolute": "/etc/file", "etc/up": "../../../../etc/file", "etc/out": "/../secret",
		"etc/loop": "loop", "etc/nowhere": "/nowhere", "etc/proc": "/proc/self/environ",
		"etc/tofifo": "fifo", "lib": "etc",
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	opened, err := rootfs.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	tests := []struct {
		path, want string
		err        error
	}{
		{"etc/file", "inside", nil},
		{"/etc/file", "inside", nil},
		{"etc/absolute", "inside", nil},
		{"etc/up", "inside", nil},
		{"lib/file", "inside", nil},
		{"etc/empty", "", nil},
		{"etc/full", string(make([]byte, limit)), nil},
		{"etc/out", "", unix.ENOENT},
		{"../secret", "", unix.ENOENT},
		{"etc/loop", "", unix.ELOOP},
		{"etc/nowhere", "", unix.ENOENT},
		{"etc/proc", "", unix.ENOENT},
		{"etc", "", unix.EINVAL},
		{"etc/fifo", "", unix.EINVAL},
		{"etc/tofifo", "", unix.EINVAL},
		{"etc/huge", "", unix.EFBIG},
		{"etc/file/x", "", unix.ENOTDIR},
	}
	for _, test := range tests {
		start := time.Now()
		got, err := rootfs.ReadFile(opened, test.path, limit)
		if string(got) != test.want || !errors.Is(err, test.err) || (err == nil) != (test.err == nil) {
			t.Errorf("%s: got %q, %v; want %q, %v", test.path, got, err, test.want, test.err)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s: took %v", test.path, took)
		}
	}
}

func TestFilesOfTheKernelAreRefused(t *testing.T) {
	t.Parallel()
	host, err := rootfs.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	for _, path := range []string{"proc/version", "sys/kernel/uevent_seqnum", "proc/self/environ"} {
		got, err := rootfs.ReadFile(host, path, limit)
		if !errors.Is(err, unix.EACCES) {
			t.Errorf("%s: got %q, %v; want it refused", path, got, err)
		}
	}
	if _, err := rootfs.ReadFile(host, "dev/zero", limit); !errors.Is(err, unix.EINVAL) {
		t.Errorf("dev/zero: got %v, want it refused", err)
	}
	if _, err := rootfs.Open("/proc/self/cwd"); err == nil {
		t.Error("a link is taken for a root")
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
