package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// groupDeath is how long killed processes may take to leave their cgroup.
const groupDeath = 10 * time.Second

// cgroupMount returns where the unified hierarchy is mounted.
func cgroupMount() (string, error) {
	file, err := os.Open("/proc/self/mounts")
	if err != nil {
		return "", err
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) > 2 && fields[2] == "cgroup2" {
			return fields[1], nil
		}
	}
	return "", errors.New("no cgroup2 hierarchy is mounted: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified")
}

// makeGroup makes the host's cgroup. The host's root may be no cgroup with
// processes of ours: hosts booted from one cgroup would share their units.
func (h host) makeGroup() error {
	for _, dir := range []string{filepath.Dir(h.group), h.group} {
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("cannot make a cgroup: %w", err)
		}
		passControllers(dir)
	}
	for _, child := range []string{"keeper", "host"} {
		if err := os.Mkdir(filepath.Join(h.group, child), 0o755); err != nil {
			return fmt.Errorf("cannot make a cgroup: %w", err)
		}
	}
	return nil
}

// passControllers hands down what there is. A machine whose version 1
// hierarchies own the controllers has none to hand down.
func passControllers(dir string) {
	have, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return
	}
	for _, controller := range strings.Fields(string(have)) {
		os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0)
	}
}

// removeGroup kills what is left in the cgroup, waits until it is empty and
// removes it.
func (h host) removeGroup() error {
	err := os.WriteFile(filepath.Join(h.group, "cgroup.kill"), []byte("1"), 0)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(h.group); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	if err := waitEmpty(filepath.Join(h.group, "cgroup.events")); err != nil {
		return err
	}
	var dirs []string
	err = filepath.WalkDir(h.group, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	for _, dir := range slices.Backward(dirs) {
		err = errors.Join(err, os.Remove(dir))
	}
	// Other hosts may still be below it.
	os.Remove(filepath.Dir(h.group))
	return err
}

// waitEmpty waits until the cgroup.events file says that nobody is inside.
func waitEmpty(events string) error {
	file, err := os.Open(events)
	if err != nil {
		return err
	}
	defer file.Close()
	for deadline := time.Now().Add(groupDeath); ; {
		buf := make([]byte, 256)
		n, err := file.ReadAt(buf, 0)
		if n == 0 {
			return err
		}
		if strings.Contains(string(buf[:n]), "populated 0") {
			return nil
		}
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("killed processes do not end: %s", events)
		}
		poll := []unix.PollFd{{Fd: int32(file.Fd()), Events: unix.POLLPRI}}
		if _, err := unix.Poll(poll, int(left.Milliseconds())); err != nil && err != unix.EINTR {
			return err
		}
	}
}

// detachLoops detaches the loop devices whose files lie on the host's file
// systems. The kernel keeps those alive as long as the loop device, so their
// device numbers cannot be anyone else's.
func (h host) detachLoops() error {
	data, err := os.ReadFile(filepath.Join(h.dir, "devices"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	devices := strings.Fields(string(data))
	attached, err := filepath.Glob("/sys/block/loop*/loop")
	if err != nil {
		return err
	}
	for _, path := range attached {
		err = errors.Join(err, detachLoop("/dev/"+filepath.Base(filepath.Dir(path)), devices))
	}
	return err
}

func detachLoop(path string, devices []string) error {
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer file.Close()
	info, err := unix.IoctlLoopGetStatus64(int(file.Fd()))
	if err != nil || !slices.Contains(devices, fmt.Sprint(info.Device)) {
		return nil
	}
	if err := unix.IoctlSetInt(int(file.Fd()), unix.LOOP_CLR_FD, 0); err != nil {
		return fmt.Errorf("cannot detach %s: %w", path, err)
	}
	return nil
}
