// Package btrfstest makes file systems for tests that need a real btrfs.
package btrfstest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Mount returns the top of a new, empty btrfs on a loop device, which goes
// with the test. It skips the test where there can be none: without root,
// loop devices or the programs.
func Mount(tb testing.TB) string {
	tb.Helper()
	if os.Getuid() != 0 {
		tb.Skip("mounting a file system needs root")
	}
	dir := tb.TempDir()
	disk, top := filepath.Join(dir, "disk"), filepath.Join(dir, "btrfs")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		tb.Fatal(err)
	}
	const size = 512 << 20 // sparse; the smallest useful one is 109 MiB
	if err := os.Truncate(disk, size); err != nil {
		tb.Fatal(err)
	}
	if err := os.Mkdir(top, 0o755); err != nil {
		tb.Fatal(err)
	}
	skipUnless(tb, "mkfs.btrfs", "-q", "-f", disk)
	skipUnless(tb, "mount", "-o", "loop", "-t", "btrfs", disk, top)
	tb.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", top).CombinedOutput(); err != nil {
			tb.Errorf("cannot unmount: %v: %s", err, out)
		}
	})
	return top
}

func skipUnless(tb testing.TB, name string, args ...string) {
	tb.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		tb.Skipf("no btrfs here: %s: %v: %s", name, err, out)
	}
}
