package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// contained runs this program again as the first process of mount and PID
// name spaces of its own and waits for it. Whatever it started ends with it,
// and it ends with us or with ctx. A non-nil group is the cgroup to start in.
func contained(ctx context.Context, group *os.File, stdout, stderr io.Writer, args ...string) error {
	// The kernel sends the death signal when the starting thread ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	cmd := exec.CommandContext(ctx, "/proc/self/exe", append([]string{"contained"}, args...)...)
	cmd.Args[0] = "testhost"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, stdout, stderr
	cmd.SysProcAttr = &unix.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		Pdeathsig:  unix.SIGKILL,
	}
	if group != nil {
		cmd.SysProcAttr.UseCgroupFD = true
		cmd.SysProcAttr.CgroupFD = int(group.Fd())
	}
	return cmd.Run()
}

// innermost is what the contained program does.
func innermost(ctx context.Context, args []string) (int, error) {
	if len(args) != 3 && len(args) != 2 {
		return 2, fmt.Errorf("this command is not for users")
	}
	// No interrupt: the one outside decides, and kills us.
	ctx = context.WithoutCancel(ctx)
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return 1, fmt.Errorf("cannot make the mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return 1, fmt.Errorf("cannot mount /proc: %w", err)
	}
	if args[0] == "build" {
		return 0, cache{args[1]}.build(ctx, args[2])
	}
	return keep(ctx, args[1])
}
