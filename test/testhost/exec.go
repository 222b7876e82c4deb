package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// enter runs a command in a host that runs now: the one named first, or the
// only one there is.
func (c cache) enter(ctx context.Context, args []string) (int, error) {
	entries, err := os.ReadDir(c.hosts())
	if err != nil {
		return 1, err
	}
	name := ""
	for _, entry := range entries {
		if len(args) > 0 && args[0] == entry.Name() || len(args) > 0 && name == "" && len(entries) == 1 {
			name = entry.Name()
		}
	}
	if name == "" {
		return 1, errors.New("exec needs the name of a host (testhost list) and a command")
	}
	if args[0] == name {
		args = args[1:]
	}
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return 2, errors.New("exec needs a command")
	}
	h, err := c.hostNamed(name)
	if err != nil {
		return 1, err
	}
	if socket := portSocket(h.dir, 1); isSocket(socket) {
		cmd := callCommand(ctx, socket, order{args, []string{"PATH=" + pathInside, "HOME=/root", "LC_ALL=C.UTF-8"}})
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		return exitStatus(cmd.Run())
	}
	leader, err := os.ReadFile(filepath.Join(h.dir, "leader"))
	if err != nil {
		return 1, fmt.Errorf("the host %s has not booted yet: %w", name, err)
	}
	keeper, err := h.keeperPID()
	if err != nil {
		return 1, err
	}
	// The leader's PID means something in the keeper's name spaces only.
	argv := []string{"--target", keeper, "--mount", "--pid", "--wd=/", "--",
		"nsenter", "--target", string(leader), "--all", "--wd=/", "--",
		"systemd-run", "--quiet", "--wait", "--collect", "--service-type=exec", "--pipe", "--working-directory=/root", "--"}
	cmd := exec.CommandContext(ctx, "nsenter", append(argv, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return exitStatus(cmd.Run())
}

func isSocket(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&fs.ModeSocket != 0
}

// keeperPID finds the first process of the host's name spaces in its cgroup.
func (h host) keeperPID() (string, error) {
	file, err := os.Open(filepath.Join(h.group, "keeper", "cgroup.procs"))
	if err != nil {
		return "", err
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		status, err := os.ReadFile(filepath.Join("/proc", lines.Text(), "status"))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(status)) {
			fields := strings.Fields(line)
			if len(fields) == 3 && fields[0] == "NSpid:" && fields[2] == "1" {
				return lines.Text(), nil
			}
		}
	}
	return "", fmt.Errorf("the host %s has ended", h.name)
}
