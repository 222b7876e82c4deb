package live

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// SayUdevKnows has systemd-nspawn take a link for one that udev is done with, of
// which there is none in test hosts.
func SayUdevKnows(t *testing.T, link string) {
	t.Helper()
	index, err := os.ReadFile("/sys/class/net/" + link + "/ifindex")
	Must(t, err)
	path := "/run/udev/data/n" + strings.TrimSpace(string(index))
	Must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	Must(t, os.WriteFile(path, []byte("I:1\n"), 0o644))
	t.Cleanup(func() { os.Remove(path) })
}
