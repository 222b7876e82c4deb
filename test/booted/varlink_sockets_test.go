package booted

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/test/live"
)

// varlinkNames are all names that lead to a socket of the daemon.
var varlinkNames = append([]string{
	"/run/varlink/registry/io.systemd.Machine", "/run/varlink/registry/io.systemd.MachineImage",
}, varlinkSockets...)

// lookAtSockets returns what ls -l and getfattr tell of each name, and of the
// directories. Few kernels have attributes on sockets: where stock's have none,
// ours must not either.
func lookAtSockets(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, name := range varlinkNames {
		for _, path := range []string{name, filepath.Dir(name)} {
			info, err := os.Lstat(path)
			must(t, err)
			owner := info.Sys().(*syscall.Stat_t)
			target, _ := os.Readlink(path)
			found[path] = fmt.Sprint(info.Mode(), " ", owner.Uid, " ", owner.Gid, " ", target, " ", attributes(t, path))
		}
	}
	return found
}

func attributes(t *testing.T, path string) map[string]string {
	t.Helper()
	names := make([]byte, 4096)
	n, err := unix.Llistxattr(path, names)
	if err != nil {
		return nil
	}
	all := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		value := make([]byte, 4096)
		if n, err := unix.Lgetxattr(path, name, value); err == nil {
			all[name] = string(value[:n])
		}
	}
	return all
}

// Anybody may connect to every name that the daemon has, from its start on.
func TestVarlinkSocketsAreOpenToAll(t *testing.T) {
	t.Parallel()
	paths := varlinkSockets
	if !live.Host.Machd && live.Host.Version < 259 {
		paths = []string{machine1.VarlinkSocket, imageSocket, accountsSocket}
	}
	pid(t) // it runs
	for _, path := range paths {
		info, err := os.Stat(path)
		must(t, err)
		if info.Mode() != os.ModeSocket|0o666 {
			t.Errorf("%s is %s", path, info.Mode())
		}
		if dir, err := os.Stat(filepath.Dir(path)); err != nil || dir.Mode() != os.ModeDir|0o755 {
			t.Errorf("its directory is %v, %v", dir.Mode(), err)
		}
		if _, err := varlinkCallAt(t, "alice", path, "org.varlink.service.GetInfo", "{}"); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}
