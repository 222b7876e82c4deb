package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
)

// beyond is what the book's reader could not do.
var beyond = []step{
	{"options", "start with options, which leave no file", (*demo).startWithOptions},
	{"exec", "run commands: their exit status, their streams", (*demo).execute},
	{"limits", "change limits while it runs", (*demo).setLimits},
	{"restart", "restart it three times without a pause", (*demo).restart},
	{"run", "a container for one command", (*demo).runOnce},
	{"depend", "a service that needs the container", (*demo).dependOn},
	{"save", "save options, see what a start would do, and look at the settings", (*demo).save},
	{"history", "what was, and how it ended", (*demo).history},
}

// fails types a command that must end with this exit status.
func (d *demo) fails(status int, argv ...string) (string, error) {
	prompt(argv)
	answer, err := quietly(argv...)
	show(answer)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != status {
		return "", fmt.Errorf("%s: %v, want exit status %d", strings.Join(argv, " "), err, status)
	}
	return answer, nil
}

// wants types a command whose answer must match.
func (d *demo) wants(pattern string, argv ...string) error {
	answer, err := d.command(argv...)
	if err == nil && !regexp.MustCompile(pattern).MatchString(answer) {
		err = fmt.Errorf("%s answered %q, not like %q", strings.Join(argv, " "), answer, pattern)
	}
	return err
}

// inOrder takes steps until one fails.
func inOrder(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) startWithOptions() error {
	return inOrder(
		func() error {
			_, err := d.command(d.client, "start", "c8-ns", "--memory=512M", "--hostname=shop", "--bind-ro=/etc/machine-id:/mnt/of-host")
			return err
		},
		func() error { return d.wants(`^shop\n$`, d.client, "exec", "c8-ns", "--", "hostname") },
		func() error {
			of, err := os.ReadFile("/etc/machine-id")
			if err != nil {
				return err
			}
			return d.wants("^"+string(of)+"$", d.client, "exec", "c8-ns", "--", "cat", "/mnt/of-host")
		},
		func() error {
			return d.wants(`^536870912\n$`, "systemctl", "show", "-P", "MemoryMax", `machine-c8\x2dns.service`)
		},
		func() error { return d.wants(`^$`, "find", "/etc/systemd", "-name", "*c8*") },
	)
}

func (d *demo) execute() error {
	return inOrder(
		func() error { _, err := d.fails(7, d.client, "exec", "c8-ns", "--", "sh", "-c", "exit 7"); return err },
		func() error { _, err := d.fails(127, d.client, "exec", "c8-ns", "--", "no-such"); return err },
		func() error { _, err := d.fails(125, d.client, "exec", "nobody", "--", "true"); return err },
		func() error {
			return d.wants(`^250000 `, "sh", "-c", "head -c 250000 /dev/urandom | "+d.client+" exec c8-ns -- cat | wc -c | sed 's/$/ bytes/'")
		},
	)
}

func (d *demo) setLimits() error {
	return inOrder(
		func() error { _, err := d.command(d.client, "set", "c8-ns", "--tasks=300"); return err },
		func() error {
			return d.wants(`^300\n$`, "systemctl", "show", "-P", "TasksMax", `machine-c8\x2dns.service`)
		},
		func() error { _, err := d.fails(1, d.client, "set", "c8-ns", "--tasks=some"); return err },
	)
}

func (d *demo) restart() error {
	for range 3 {
		if _, err := d.command(d.client, "restart", "c8-ns"); err != nil {
			return err
		}
	}
	if err := d.wants(`^running\n$`, d.client, "show", "-P", "State", "c8-ns"); err != nil {
		return err
	}
	_, err := d.command(d.client, "stop", "c8-ns")
	return err
}

func (d *demo) runOnce() error {
	return inOrder(
		func() error {
			_, err := d.fails(9, d.client, "run", "c8-ns", "--", "sh", "-c", "echo hello; exit 9")
			return err
		},
		func() error { return d.wantTable([]string{d.client}, `^No machines\.$`) },
	)
}

const service = `[Unit]
Requires=machine@c8-ns.service
After=machine@c8-ns.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=machctl exec c8-ns -- systemctl is-active dbus.socket
`

func (d *demo) dependOn() error {
	const path = "/run/systemd/system/shop.service"
	if err := os.WriteFile(path, []byte(service), 0o644); err != nil {
		return err
	}
	return inOrder(
		func() error { _, err := d.command("systemctl", "daemon-reload"); return err },
		func() error { _, err := d.command("systemctl", "start", "shop"); return err },
		func() error {
			return d.wantTable([]string{d.client}, tableHead, tableRow, `^$`, `^1 machines? listed\.$`)
		},
		func() error { _, err := d.command("systemctl", "stop", "machine@c8-ns"); return err },
		func() error { _, err := d.fails(3, "systemctl", "is-active", "shop"); return err },
		func() error { return d.wantTable([]string{d.client}, `^No machines\.$`) },
		func() error { return os.Remove(path) },
	)
}

func (d *demo) save() error {
	return inOrder(
		func() error {
			return d.wants(`(?m)^\+ .*MemoryMax`, d.client, "start", "c8-ns", "--memory=1G", "--setenv=SHOP=open", "--dry-run")
		},
		func() error {
			_, err := d.command(d.client, "start", "c8-ns", "--memory=1G", "--setenv=SHOP=open", "--save")
			return err
		},
		func() error { return d.wants(`(?s)Environment=SHOP=open.*MemoryMax=1G`, d.client, "cat", "c8-ns") },
		func() error { _, err := d.command(d.client, "stop", "c8-ns"); return err },
		func() error {
			_, err := d.command("rm", "-r", "/etc/systemd/nspawn/c8-ns.nspawn", "/etc/systemd/system/systemd-nspawn@c8-ns.service.d")
			return err
		},
		func() error { _, err := d.command("systemctl", "daemon-reload"); return err },
	)
}

func (d *demo) history() error {
	return d.wants(`(?m)^c8-ns +systemd-nspawn .* exit status 0 *$`, d.client, "history", "c8-ns")
}
