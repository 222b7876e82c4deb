// Package need installs the programs that a test run uses on the machine it
// runs on. It knows Debian's packages and nothing about what runs later.
package need

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// packages names the Debian package of every program that is ever asked for.
var packages = map[string]string{
	"busctl":             "systemd",
	"dbus-daemon":        "dbus",
	"gcc":                "gcc libc6-dev",
	"git":                "git",
	"ip":                 "iproute2",
	"machinectl":         "systemd-container",
	"make":               "make",
	"mkfs.ext4":          "e2fsprogs",
	"mmdebstrap":         "mmdebstrap debian-archive-keyring",
	"nft":                "nftables",
	"nsenter":            "util-linux",
	"qemu-system-x86_64": "qemu-system-x86",
	"systemd-nspawn":     "systemd-container",
	"tmux":               "tmux ncurses-bin",
}

// Programs returns once each program can be found in PATH. What is missing is
// installed by apt where the machine has it; elsewhere the error names it.
func Programs(ctx context.Context, log io.Writer, programs ...string) error {
	missing := slices.DeleteFunc(slices.Clone(programs), present)
	if len(missing) == 0 {
		return nil
	}
	var wanted []string
	for _, program := range missing {
		name, ok := packages[program]
		if !ok {
			name = program
		}
		wanted = append(wanted, strings.Fields(name)...)
	}
	if !present("apt-get") || !debianLike() {
		return fmt.Errorf("please install %s (in Debian: the packages %s), then try again",
			strings.Join(missing, ", "), strings.Join(wanted, " "))
	}
	fmt.Fprintf(log, "installing %s by apt …\n", strings.Join(wanted, " "))
	return FromMirror(ctx, log, func() error {
		if err := apt(ctx, "update", "-q"); err != nil {
			return err
		}
		return apt(ctx, append([]string{"install", "-q", "-y", "--no-install-recommends"}, wanted...)...)
	})
}

// tries is how often something is fetched at most, and pause is between two times.
const tries = 3

var pause = 15 * time.Second

// FromMirror calls fetch, which takes packages from a mirror, and again if it
// fails: a mirror may be out of reach or half synchronised for a moment.
func FromMirror(ctx context.Context, log io.Writer, fetch func() error) error {
	for n := 1; ; n++ {
		err := fetch()
		if err == nil || n == tries || ctx.Err() != nil {
			return err
		}
		fmt.Fprintf(log, "once more in %s: %v\n", pause, err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}

func present(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

func debianLike() bool {
	file, err := os.Open("/etc/os-release")
	if err != nil {
		return false
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), "=")
		if key != "ID" && key != "ID_LIKE" {
			continue
		}
		if slices.Contains(strings.Fields(strings.Trim(value, `"'`)), "debian") {
			return true
		}
	}
	return false
}

// apt shows apt's output only when it failed: a good run is one line.
func apt(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("cannot run apt-get %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}
