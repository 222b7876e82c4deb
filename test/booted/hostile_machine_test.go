package booted

import (
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

// hostileRoots are machines by what somebody has done to their files.
var hostileRoots = []struct {
	name    string
	prepare func(t *testing.T, root string)
}{
	{"fifo", func(t *testing.T, root string) { must(t, unix.Mkfifo(osRelease(t, root), 0o644)) }},
	{"device", func(t *testing.T, root string) {
		must(t, unix.Mknod(osRelease(t, root), unix.S_IFCHR|0o644, int(unix.Mkdev(1, 5))))
	}},
	{"sparse", func(t *testing.T, root string) { sparse(t, osRelease(t, root), 10<<30) }},
	{"loop", func(t *testing.T, root string) { must(t, os.Symlink("os-release", osRelease(t, root))) }},
	{"outwards", func(t *testing.T, root string) {
		must(t, os.Symlink("../../../../../../etc/shadow", osRelease(t, root)))
	}},
	{"socket", func(t *testing.T, root string) { listen(t, osRelease(t, root), nil) }},
	{"bytes", func(t *testing.T, root string) {
		must(t, os.WriteFile(osRelease(t, root), everyByte(), 0o644))
		for b := range everyByte()[1:] { // as a file's name, all but NUL and '/'
			if b := byte(b + 1); b != '/' {
				must(t, os.WriteFile(filepath.Join(root, "etc", "x"+string([]byte{b})), nil, 0o644))
			}
		}
	}},
	{"passwd", func(t *testing.T, root string) {
		sparse(t, filepath.Join(root, "etc/passwd"), 100<<20)
		sparse(t, filepath.Join(root, "etc/group"), 100<<20)
	}},
	{"fuse-etc", func(t *testing.T, root string) { hang(t, filepath.Join(root, "etc")) }},
	{"fuse-run", func(t *testing.T, root string) { hang(t, filepath.Join(root, "run")) }},
	{"fuse-usr", func(t *testing.T, root string) {
		osRelease(t, root)
		hang(t, filepath.Join(root, "usr/lib"))
	}},
	{"fuse-var", func(t *testing.T, root string) { hang(t, filepath.Join(root, "var")) }},
	{"fuse-dev", func(t *testing.T, root string) {
		must(t, unix.Unmount(filepath.Join(root, "dev/pts"), 0))
		hang(t, filepath.Join(root, "dev"))
	}},
	{"kmsg", func(t *testing.T, root string) { // reading it waits, and takes from the kernel's log
		proc := filepath.Join(root, "proc")
		must(t, unix.Mount("proc", proc, "proc", 0, ""))
		t.Cleanup(func() { unix.Unmount(proc, unix.MNT_DETACH) })
		must(t, os.Symlink("/proc/kmsg", osRelease(t, root)))
	}},
	{"links", func(t *testing.T, root string) {
		must(t, os.Rename(filepath.Join(root, "etc"), filepath.Join(root, "etc0")))
		for i := range 60 {
			must(t, os.Symlink(fmt.Sprintf("/etc%d", i), filepath.Join(root, fmt.Sprintf("etc%d", i+1))))
		}
		must(t, os.Symlink("/etc60", filepath.Join(root, "etc")))
	}},
	{"fuse-pts", func(t *testing.T, root string) { hang(t, filepath.Join(root, "dev/pts")) }},
	{"bus-silent", func(t *testing.T, root string) { listen(t, busOf(root), func(c net.Conn) {}) }},
	{"bus-full", func(t *testing.T, root string) { listen(t, busOf(root), nil) }},
	{"bus-garbage", func(t *testing.T, root string) {
		listen(t, busOf(root), func(c net.Conn) {
			for {
				if _, err := c.Write(everyByte()); err != nil {
					return
				}
			}
		})
	}},
	{"bus-lies", func(t *testing.T, root string) {
		listen(t, busOf(root), func(c net.Conn) {
			// It is well, and then sends messages that nobody waits for.
			fmt.Fprint(c, "DATA\r\nOK 0123456789abcdef0123456789abcdef\r\nAGREE_UNIX_FD\r\n")
			message := rawCall{path: "/", iface: "a.b", member: "C", destination: ":1.1", serial: 1, signature: "a{gs}"}.bytes()
			for {
				if _, err := c.Write(message); err != nil {
					return
				}
			}
		})
	}},
	{"bus-loop", func(t *testing.T, root string) { must(t, os.Symlink("system_bus_socket", busOf(root))) }},
}

func osRelease(t *testing.T, root string) string {
	t.Helper()
	path := filepath.Join(root, "etc/os-release")
	must(t, os.Remove(path))
	return path
}

func busOf(root string) string { return filepath.Join(root, "run/dbus/system_bus_socket") }

func everyByte() []byte {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	return all
}

func sparse(t *testing.T, path string, size int64) {
	t.Helper()
	must(t, os.WriteFile(path, []byte("NAME=sparse\n"), 0o644))
	must(t, os.Truncate(path, size))
}

// hang mounts a file system that never answers, until the test's end.
func hang(t *testing.T, dir string) {
	t.Helper()
	fuse, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { unix.Close(fuse) }) // ends all that waits for it
	must(t, unix.Mount("hang", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40755,user_id=0,group_id=0,allow_other", fuse)))
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
}

// listen has a socket at path, and serve talk to all who come; nil takes
// nobody.
func listen(t *testing.T, path string, serve func(net.Conn)) {
	t.Helper()
	if serve == nil {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		must(t, err)
		t.Cleanup(func() { unix.Close(fd) })
		must(t, unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
		must(t, unix.Listen(fd, 0))
		return
	}
	l, err := net.Listen("unix", path)
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			go serve(c)
		}
	}()
}

// startHostile creates a machine whose files are prepared so. Its one process
// is chrooted into them.
func startHostile(t *testing.T, w *watcher, name string, prepare func(*testing.T, string)) {
	t.Helper()
	root, err := os.MkdirTemp("/var/lib/machines", ".hostile-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(root) })
	for _, dir := range []string{"bin", "etc", "usr/lib", "run/dbus", "dev/pts", "var", "tmp", "proc"} {
		must(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	must(t, os.Symlink("../run", filepath.Join(root, "var/run")))
	run(t, "cp", "/var/lib/machines/tiny/bin/busybox", filepath.Join(root, "bin/busybox"))
	must(t, os.WriteFile(filepath.Join(root, "etc/os-release"), []byte("ID=hostile\n"), 0o644))
	pts := filepath.Join(root, "dev/pts")
	must(t, unix.Mount("devpts", pts, "devpts", 0, "newinstance,ptmxmode=0666,mode=620"))
	t.Cleanup(func() { unix.Unmount(pts, unix.MNT_DETACH) })
	prepare(t, root)

	leader := exec.Command("/bin/busybox", "sleep", "1000000")
	leader.Dir = "/"
	leader.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC}
	must(t, leader.Start())
	t.Cleanup(func() {
		leader.Process.Kill()
		leader.Wait()
	})
	must(t, w.call(t, "CreateMachine", []any{name, []byte{}, "tester", "container", uint32(leader.Process.Pid), "/", []machine1.Property{}}))
}

// everyLookUp are all calls that look into a machine.
func everyLookUp(name string) []rawCall {
	named := func(member string, more ...string) rawCall {
		var b builder
		b.text(name)
		for _, arg := range more {
			b.text(arg)
		}
		return toManager(member, strings.Repeat("s", 1+len(more)), b.b)
	}
	shell := named("OpenMachineShell", "root", "/bin/sh")
	var b builder
	b.b = shell.body
	b.number(0)
	b.number(0)
	shell.signature, shell.body = shell.signature+"asas", b.b
	return []rawCall{
		named("GetMachineOSRelease"), named("OpenMachinePTY"), named("OpenMachineLogin"), shell,
		named("GetMachineAddresses"), named("GetMachineUIDShift"), named("OpenMachineRootDirectory"),
		named("CopyFromMachine", "/etc/os-release", "/run/copied-from-"+name),
		named("CopyToMachine", "/etc/hostname", "/etc/copied/there"),
	}
}

// Whatever a machine does to its own files costs those who ask about it, and
// nobody else.
func TestMachdHostileMachines(t *testing.T) {
	const clients = 5
	w := watch(t)
	t.Cleanup(func() { run(t, "sh", "-c", "rm -rf /run/copied-from-*") })
	wantUnharmed(t, func(t *testing.T, _ *probe) {
		var askers sync.WaitGroup
		kinds := make([]map[byte]int, len(hostileRoots))
		for i, r := range hostileRoots {
			name := "hostile-" + r.name
			startHostile(t, w, name, r.prepare)
			calls := everyLookUp(name)
			b := dialRaw(t, "root")
			askers.Go(func() {
				var err error
				if kinds[i], err = b.askAll(calls, clients); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		askers.Wait()
		for i, r := range hostileRoots {
			t.Logf("%s: %d replies, %d errors", r.name, kinds[i][replyMessage], kinds[i][errorMessage])
		}
	})
}

// askAll makes all calls at once, a number of times, and counts the answers by
// type. Its error tells which calls have none.
func (b *rawBus) askAll(calls []rawCall, times int) (map[byte]int, error) {
	kinds, waiting := map[byte]int{}, map[uint32]string{}
	for i := range times * len(calls) {
		c := calls[i%len(calls)]
		c.serial = uint32(i + 2)
		if _, err := b.Write(c.bytes()); err != nil {
			return kinds, err
		}
		waiting[c.serial] = c.member
	}
	if err := b.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return kinds, err
	}
	for len(waiting) > 0 {
		r, err := b.read()
		if err != nil {
			return kinds, fmt.Errorf("no answer to %s: %w", slices.Sorted(maps.Values(waiting)), err)
		}
		delete(waiting, r.replySerial)
		kinds[r.kind]++
	}
	return kinds, nil
}
