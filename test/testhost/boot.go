package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// bootTime is how long a host may take until its default target.
	bootTime = 2 * time.Minute
	// loopNodes is how many loop devices a host can name; no udev makes them.
	// The kernel has one row of them for all hosts.
	loopNodes = 128
	loopMajor = 7
)

// boot starts the host and returns when its default target is reached.
func (k *keeper) boot(ctx context.Context) error {
	const socket = "/run/notify"
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer notify.Close()
	console, err := os.Create(filepath.Join(k.Dir, "logs", "console.txt"))
	if err != nil {
		return err
	}
	defer console.Close()
	group, err := os.Open(filepath.Join(k.Group, "host"))
	if err != nil {
		return err
	}
	defer group.Close()

	nspawn := exec.CommandContext(ctx, "systemd-nspawn", k.nspawnArgs()...)
	nspawn.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket,
		"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1", "SYSTEMD_NSPAWN_API_VFS_WRITABLE=1")
	nspawn.Stdout, nspawn.Stderr = console, console
	// A session of its own: Ctrl-C is not for nspawn.
	nspawn.SysProcAttr = &unix.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(group.Fd())}
	if err := nspawn.Start(); err != nil {
		return err
	}
	k.ended = make(chan struct{})
	go func() {
		nspawn.Wait()
		notify.Close()
		close(k.ended)
	}()
	if err := k.awaitReady(notify); err != nil {
		output, _ := os.ReadFile(console.Name())
		return fmt.Errorf("the host does not boot: %w\n%s", err, lastLines(string(output), 20))
	}
	return errors.Join(k.recordDevices(), k.makeLoopNodes())
}

func (k *keeper) nspawnArgs() []string {
	args := []string{
		"--machine=" + k.Name, "--directory=" + k.path("root"), "--boot",
		"--register=no", "--keep-unit", "--notify-ready=yes", "--link-journal=no", "--resolv-conf=off", "--timezone=off",
		"--private-network", "--capability=all", "--system-call-filter=@mount @keyring bpf",
		"--console=read-only",
		"--bind=" + k.path("machines") + ":/var/lib/machines",
		"--bind-ro=" + k.Repo + ":/src",
		"--bind-ro=" + k.Files + ":" + filesInside,
	}
	for _, device := range []string{"/dev/fuse", "/dev/net/tun", "/dev/loop-control"} {
		if _, err := os.Stat(device); err == nil {
			args = append(args, "--bind="+device)
		}
	}
	for _, path := range k.Binds {
		args = append(args, "--bind-ro="+path)
	}
	return args
}

// awaitReady reads nspawn's messages: first the leader's PID, then, from the
// system inside, that it has come up.
func (k *keeper) awaitReady(notify *net.UnixConn) error {
	if err := notify.SetReadDeadline(time.Now().Add(bootTime)); err != nil {
		return err
	}
	buf := make([]byte, 4096)
	for {
		n, err := notify.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return errors.New("systemd-nspawn ended")
		}
		if err != nil {
			return err
		}
		ready := false
		for line := range strings.Lines(string(buf[:n])) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			switch key {
			case "X_NSPAWN_LEADER_PID":
				k.leader, err = strconv.Atoi(value)
				if err != nil {
					return fmt.Errorf("cannot read the leader's PID: %w", err)
				}
			case "READY":
				ready = true
			}
		}
		if ready && k.leader != 0 {
			return os.WriteFile(filepath.Join(k.Dir, "leader"), []byte(strconv.Itoa(k.leader)), 0o644)
		}
	}
}

func (k *keeper) makeLoopNodes() error {
	for i := range loopNodes {
		path := fmt.Sprintf("/proc/%d/root/dev/loop%d", k.leader, i)
		err := unix.Mknod(path, unix.S_IFBLK|0o660, int(unix.Mkdev(loopMajor, uint32(i))))
		if err != nil && err != unix.EEXIST {
			return fmt.Errorf("cannot make %s: %w", path, err)
		}
	}
	return nil
}

// recordDevices writes down the numbers of the file systems of the host that
// can hold a loop device's file, for detachLoops. An overlay has numbers of
// its own for files from below and from above.
func (k *keeper) recordDevices() error {
	inside := fmt.Sprintf("/proc/%d/root", k.leader)
	above, err := os.CreateTemp(inside+"/var/tmp", "above-")
	if err != nil {
		return err
	}
	defer os.Remove(above.Name())
	defer above.Close()

	var numbers []string
	for _, path := range []string{above.Name(), inside + "/usr/bin/bash", inside, inside + "/var/lib/machines", inside + "/tmp",
		inside + "/run", inside + "/dev/shm"} {
		var stat unix.Stat_t
		if err := unix.Stat(path, &stat); err != nil {
			return fmt.Errorf("cannot find the device of %s: %w", path, err)
		}
		numbers = append(numbers, strconv.FormatUint(stat.Dev, 10))
	}
	return os.WriteFile(filepath.Join(k.Dir, "devices"), []byte(strings.Join(numbers, "\n")), 0o644)
}

// recordMounts adds what the steps have mounted since.
func (k *keeper) recordMounts() error {
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", k.leader))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a step has ended the host
	}
	if err != nil {
		return err
	}
	devices, err := os.OpenFile(filepath.Join(k.Dir, "devices"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer devices.Close()
	for line := range strings.Lines(string(mounts)) {
		var major, minor uint32
		if _, err := fmt.Sscanf(line, "%d %d %d:%d", new(int), new(int), &major, &minor); err != nil {
			return fmt.Errorf("cannot read a mount of the host: %w", err)
		}
		// The checkout and the device nodes are on this machine's own.
		if major == 0 {
			fmt.Fprintf(devices, "\n%d", unix.Mkdev(major, minor))
		}
	}
	return devices.Close()
}
