package inside_test

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// runMachine is the first process of a machine: it makes itself a root, says
// so, and does what it reads.
func runMachine(kind string) {
	m := machineInit{}
	m.fuse, _ = unix.Open("/proc/self/fd/3", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err := m.makeRoot(kind); err != nil {
		fmt.Println("failed", err)
		os.Exit(1)
	}
	fmt.Println("ok")
	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		var o order
		err := json.Unmarshal(input.Bytes(), &o)
		answer := ""
		if err == nil {
			answer, err = m.obey(o)
		}
		if err != nil {
			fmt.Println("failed", o, err)
			continue
		}
		fmt.Println("ok", answer)
	}
	os.Exit(0)
}

type machineInit struct {
	fuse    int
	systemd *fakeSystemd
}

func (m *machineInit) makeRoot(kind string) error {
	const root = "/mnt"
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private: %w", err)
	}
	source, fstype, flags := "tmpfs", "tmpfs", uintptr(0)
	if kind == whole {
		source, fstype, flags = "/", "", unix.MS_BIND|unix.MS_REC
	}
	if err := unix.Mount(source, root, fstype, flags, ""); err != nil {
		return fmt.Errorf("root: %w", err)
	}
	for _, dir := range []string{"etc", "usr/lib", "dev/pts", "proc", "sys", "run"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	mounts := []struct{ fstype, path, data string }{
		{"proc", "proc", ""},
		{"sysfs", "sys", ""},
		{"devpts", "dev/pts", "newinstance,ptmxmode=0666,mode=620,gid=5"},
		{"tmpfs", "run", "mode=755"},
	}
	for _, mount := range mounts {
		err := unix.Mount(mount.fstype, filepath.Join(root, mount.path), mount.fstype, 0, mount.data)
		if err != nil {
			return fmt.Errorf("mount %s: %w", mount.path, err)
		}
	}
	if err := unix.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("old root: %w", err)
	}
	return os.Mkdir("/run/dbus", 0o755)
}

func (m *machineInit) obey(o order) (answer string, err error) {
	switch o.Do {
	case "mkdir":
		return "", os.MkdirAll(o.Path, 0o755)
	case "write":
		return "", os.WriteFile(o.Path, []byte(o.Text), 0o644)
	case "symlink":
		return "", os.Symlink(o.Text, o.Path)
	case "fifo":
		return "", unix.Mkfifo(o.Path, 0o666)
	case "character":
		var major, minor uint32
		fmt.Sscanf(o.Text, "%d:%d", &major, &minor)
		return "", unix.Mknod(o.Path, unix.S_IFCHR|0o666, int(unix.Mkdev(major, minor)))
	case "sparse":
		if err := os.WriteFile(o.Path, nil, 0o644); err != nil {
			return "", err
		}
		return "", os.Truncate(o.Path, int64(o.N))
	case "remove":
		return "", os.RemoveAll(o.Path)
	case "race":
		go race(o.Path, o.Text)
		return "", nil
	case "unmount":
		return "", unix.Unmount(o.Path, unix.MNT_DETACH)
	case "hang":
		return "", m.hang(o.Path)
	case "share":
		return "", unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")
	case "tmpfs":
		return "", unix.Mount("tmpfs", o.Path, "tmpfs", 0, o.Text)
	case "bind":
		return "", unix.Mount(o.Text, o.Path, "", unix.MS_BIND, "")
	case "chown":
		return "", os.Chown(o.Path, o.N, o.N)
	case "mounts":
		return mountsAt(o.Path)
	case "read":
		text, err := os.ReadFile(o.Path)
		return string(text), err
	case "list":
		return list(o.Path)
	case "owner":
		var stat unix.Stat_t
		err := unix.Stat(o.Path, &stat)
		return fmt.Sprintf("%d:%d", stat.Uid, stat.Gid), err
	case "say":
		return "", say(o.Path, o.Text)
	case "hostile bus":
		return "", hostileBus(o.Text)
	case "bus":
		return "", m.startBus()
	case "set state":
		m.systemd.state.Store(o.Text)
		return "", nil
	case "leave the bus":
		_, err = m.systemd.conn.ReleaseName("org.freedesktop.systemd1")
		return "", err
	case "fail the late":
		m.systemd.lateFails.Store(true)
		return "", nil
	case "fall silent":
		m.systemd.mu.Lock() // for good: nothing is answered without it
		return "", nil
	case "calls":
		return m.systemd.calls()
	}
	return "", fmt.Errorf("unknown order %q", o.Do)
}

// mountsAt counts the mounts on one another at path.
func mountsAt(path string) (string, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	return fmt.Sprint(strings.Count(string(table), " "+path+" ")), err
}

// list returns the names in a directory with their modes.
func list(path string) (string, error) {
	entries, err := os.ReadDir(path)
	var names []string
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			return "", err
		}
		names = append(names, entry.Name()+" "+info.Mode().String())
	}
	return strings.Join(names, ","), err
}

// race replaces path by target and back for ever.
func race(path, target string) {
	os.Symlink(target, path+".link")
	for {
		unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, path+".link", unix.RENAME_EXCHANGE)
	}
}

func say(path, text string) error {
	f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}

// hang mounts a FUSE file system that says it is there and then nothing.
func (m *machineInit) hang(path string) error {
	if m.fuse < 0 {
		return fmt.Errorf("cannot use /dev/fuse")
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", m.fuse)
	if err := unix.Mount("hang", path, "fuse", unix.MS_NODEV|unix.MS_NOSUID, options); err != nil {
		return err
	}
	request := make([]byte, 1<<20)
	if _, err := unix.Read(m.fuse, request); err != nil {
		return err
	}
	const headerSize, initSize = 16, 64
	answer := make([]byte, headerSize+initSize)
	binary.NativeEndian.PutUint32(answer[0:], uint32(len(answer)))
	copy(answer[8:16], request[8:16]) // unique
	binary.NativeEndian.PutUint32(answer[16:], 7)
	binary.NativeEndian.PutUint32(answer[20:], 31)
	binary.NativeEndian.PutUint32(answer[36:], 4096) // max_write
	_, err := unix.Write(m.fuse, answer)
	return err
}

const busSocket = "/run/dbus/system_bus_socket"

// hostileBus lets clients in and then does what they do not expect.
func hostileBus(how string) error {
	os.Remove(busSocket)
	listener, err := net.Listen("unix", busSocket)
	if err != nil {
		return err
	}
	if how == "full queue" {
		return fillQueue(listener)
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go hostileTalk(conn, how)
		}
	}()
	return nil
}

// fillQueue leaves no room for a connection.
func fillQueue(listener net.Listener) error {
	raw, err := listener.(*net.UnixListener).SyscallConn()
	if err != nil {
		return err
	}
	if err := raw.Control(func(fd uintptr) { unix.Listen(int(fd), 0) }); err != nil {
		return err
	}
	for {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: busSocket}); err == unix.EAGAIN {
			return nil
		}
	}
}

func hostileTalk(conn net.Conn, how string) {
	defer conn.Close()
	if how == "silent" {
		time.Sleep(time.Hour)
	}
	if _, err := conn.Read(make([]byte, 4096)); err != nil {
		return
	}
	if how == "refuses" {
		conn.Write([]byte("REJECTED EXTERNAL\r\n"))
		return
	}
	if how == "endless line" {
		for {
			if _, err := conn.Write([]byte(strings.Repeat("O", 4096))); err != nil {
				return
			}
		}
	}
	conn.Write([]byte("OK 0123456789abcdef0123456789abcdef\r\nAGREE_UNIX_FD\r\n"))
	switch how {
	case "hangs up":
		return
	case "silent after the greeting":
		time.Sleep(time.Hour)
	case "huge message":
		conn.Write([]byte{'l', 2, 1, 1, 0, 0, 0, 7, 1, 0, 0, 0, 0, 0, 0, 0})
		time.Sleep(time.Hour)
	case "endless messages":
		for {
			if _, err := conn.Write([]byte{'l', 4, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
				return
			}
		}
	case "noise":
		for {
			if _, err := conn.Write([]byte(strings.Repeat("\xff\x00l", 100))); err != nil {
				return
			}
		}
	}
}

const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
 <type>system</type>
 <listen>unix:path=` + busSocket + `</listen>
 <auth>EXTERNAL</auth>
 <policy context="default"><allow user="*"/><allow send_destination="org.freedesktop.DBus"/>
  <allow receive_sender="*"/></policy>
 <policy user="root"><allow own="*"/><allow send_destination="*"/></policy>
</busconfig>`

// startBus starts a bus on which only the machine's root may do anything, and
// a service manager of sorts.
func (m *machineInit) startBus() error {
	if err := os.WriteFile("/run/bus.conf", []byte(busConfig), 0o644); err != nil {
		return err
	}
	daemon := exec.Command("dbus-daemon", "--config-file=/run/bus.conf", "--nofork", "--print-address=1")
	address, err := daemon.StdoutPipe()
	if err != nil {
		return err
	}
	if err := daemon.Start(); err != nil {
		return err
	}
	if _, err := bufio.NewReader(address).ReadString('\n'); err != nil {
		return fmt.Errorf("the bus does not start: %w", err)
	}
	m.systemd, err = newFakeSystemd("unix:path=" + busSocket)
	return err
}
