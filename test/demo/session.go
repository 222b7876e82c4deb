package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
)

const directory = "/var/lib/machines/c8-ns"

// session is the book's, in its order. The sections 11-A-2 to 11-A-4; the
// network of its own, which takes twelve commands there, is in network.go.
var session = []step{
	{"B3", "systemd-nspawn starts the container, root logs in", (*demo).startByHand},
	{"B4", "the same with --private-network", (*demo).startPrivate},
	{"B4n", "the same with -n", (*demo).startVeth},
	{"B5", "the container is listed, with -a the host too", (*demo).list},
	{"B6", "show tells its details", (*demo).showDetails},
	{"B8", "login, and ^]^]^] back", (*demo).loginAndLeave},
	{"B9", "stop it, and start it again", (*demo).stopAndStart},
	{"B10", "httpd in the host's network, seen from the host", (*demo).sharedNetwork},
}

func (d *demo) takeOver() error {
	if _, err := d.command("systemctl", "enable", "machd"); err != nil {
		return err
	}
	if _, err := d.command("systemctl", "restart", "machd.socket", "machd.service"); err != nil {
		return err
	}
	owner, err := d.command("busctl", "--no-pager", "status", "org.freedesktop.machine1")
	if err != nil {
		return err
	}
	if !regexp.MustCompile(`(?m)^Comm=machd$`).MatchString(owner) {
		return errors.New("org.freedesktop.machine1 is not machd's")
	}
	return nil
}

// boot starts the container on a terminal and logs in there.
func (d *demo) boot(options ...string) error {
	argv := append([]string{"systemd-nspawn", "-M", "c8-ns", "-bD", directory}, options...)
	console, err := open(argv...)
	if err != nil {
		return err
	}
	d.console = console
	for _, wanted := range []string{
		`Spawning container c8-ns on /var/lib/machines/c8-ns\.\n`,
		`Press (\^\]|Ctrl-\]) three times within 1s to kill container[^\n]*\n`,
	} {
		if _, err := console.Expect(wanted); err != nil {
			return err
		}
	}
	if err := login(console); err != nil {
		return err
	}
	name, err := inside(console, "hostname")
	if err == nil && !strings.Contains(name, "\nc8-ns\n") {
		err = fmt.Errorf("the container's host name is not c8-ns: %q", name)
	}
	return err
}

// powerOff ends the container from inside.
func (d *demo) powerOff() error {
	if err := d.console.Type("poweroff\n"); err != nil {
		return err
	}
	if _, err := d.console.Expect(`Container c8-ns has been shut down\.`); err != nil {
		return err
	}
	return d.console.Wait()
}

func (d *demo) startByHand() error {
	if err := d.boot(); err != nil {
		return err
	}
	return d.powerOff()
}

func (d *demo) startPrivate() error {
	if err := d.boot("--private-network"); err != nil {
		return err
	}
	links, err := inside(d.console, "ip -o link | wc -l")
	if err != nil {
		return err
	}
	if !strings.Contains(links, "\n1\n") {
		return fmt.Errorf("the container sees more than its own loopback: %q", links)
	}
	return d.powerOff()
}

func (d *demo) startVeth() error {
	if err := d.boot("-n"); err != nil {
		return err
	}
	link, err := inside(d.console, "ip addr show dev host0")
	if err != nil {
		return err
	}
	if !regexp.MustCompile(`\d+: host0@if\d+: <BROADCAST,MULTICAST`).MatchString(link) {
		return fmt.Errorf("the container has no host0: %q", link)
	}
	link, err = d.command("ip", "addr", "show", "dev", "ve-c8-ns")
	if err != nil {
		return err
	}
	if !regexp.MustCompile(`\d+: ve-c8-ns@if\d+: <BROADCAST,MULTICAST`).MatchString(link) {
		return errors.New("the host has no ve-c8-ns")
	}
	return d.powerOff()
}

const (
	tableHead = `^MACHINE +CLASS +SERVICE +OS +VERSION +ADDRESSES *$`
	tableHost = `^\.host +host +- `
	tableRow  = `^c8-ns +container +systemd-nspawn `
)

// list leaves the container running, as the steps after it need it.
func (d *demo) list() error {
	if err := d.boot(); err != nil {
		return err
	}
	if err := d.wantTable([]string{d.client}, tableHead, tableRow, `^$`, `^1 machines? listed\.$`); err != nil {
		return err
	}
	return d.wantTable([]string{d.client, "-a"}, tableHead, tableHost, tableRow, `^$`, `^2 machines listed\.$`)
}

// wantTable runs a command whose lines must match the patterns one by one.
func (d *demo) wantTable(argv []string, patterns ...string) error {
	answer, err := d.command(argv...)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSuffix(answer, "\n"), "\n")
	if len(lines) != len(patterns) {
		return fmt.Errorf("%s printed %d lines, not %d", strings.Join(argv, " "), len(lines), len(patterns))
	}
	for i, pattern := range patterns {
		if !regexp.MustCompile(pattern).MatchString(lines[i]) {
			return fmt.Errorf("line %d of %s is %q, not like %q", i+1, strings.Join(argv, " "), lines[i], pattern)
		}
	}
	return nil
}

// bookDetails are the lines that the book shows, in its order. Newer
// references show more lines between them.
var bookDetails = []string{
	`^Name=c8-ns$`, `^Id=[0-9a-f]{32}$`, `^Timestamp=\w{3} \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \w+$`, `^TimestampMonotonic=[1-9]\d*$`,
	`^Service=systemd-nspawn$`, `^Unit=(machine-)?c8(-ns|\\x2dns)?\.scope$`, `^Leader=[1-9]\d*$`, `^Class=container$`,
	`^RootDirectory=/var/lib/machines/c8-ns$`, `^State=running$`,
}

func (d *demo) showDetails() error {
	answer, err := d.command(d.client, "show", "c8-ns")
	if err != nil {
		return err
	}
	wanted := bookDetails
	for line := range strings.Lines(answer) {
		if len(wanted) > 0 && regexp.MustCompile(wanted[0]).MatchString(strings.TrimSuffix(line, "\n")) {
			wanted = wanted[1:]
		}
	}
	if len(wanted) > 0 {
		return fmt.Errorf("no line like %q in its place", wanted[0])
	}
	leader := regexp.MustCompile(`(?m)^Leader=(\d+)$`).FindStringSubmatch(answer)[1]
	comm, err := os.ReadFile("/proc/" + leader + "/comm")
	if err != nil {
		return err
	}
	if string(comm) != "systemd\n" {
		return fmt.Errorf("the leader, process %s, is %q, not the container's systemd", leader, comm)
	}
	return nil
}

func (d *demo) loginAndLeave() error {
	session, err := open(d.client, "login", "c8-ns")
	if err != nil {
		return err
	}
	if _, err := session.Expect(`Connected to machine c8-ns\. Press (\^\]|Ctrl-\]) three times within 1s to exit session\.\n`); err != nil {
		return err
	}
	if err := login(session); err != nil {
		return err
	}
	answer, err := inside(session, "echo $((6 * 7)) on $(hostname)")
	if err != nil {
		return err
	}
	if !strings.Contains(answer, "\n42 on c8-ns\n") {
		return fmt.Errorf("the command's answer is missing: %q", answer)
	}
	if err := session.Type("\x1d\x1d\x1d"); err != nil {
		return err
	}
	goodbye := `\nConnection to machine c8-ns terminated\.\n`
	if d.client == "machinectl" {
		// That of systemd 262 has its two closing sentences swapped.
		goodbye = `\n(Connection to machine|Machine) c8-ns terminated\.\n`
	}
	if _, err := session.Expect(goodbye); err != nil {
		return err
	}
	return session.Wait()
}

func (d *demo) stopAndStart() error {
	if _, err := d.command(d.client, "stop", "c8-ns"); err != nil {
		return err
	}
	if _, err := d.console.Expect(`Container c8-ns has been shut down\.`); err != nil {
		return err
	}
	if err := d.console.Wait(); err != nil {
		return err
	}
	if err := d.wantTable([]string{d.client}, `^No machines\.$`); err != nil {
		return err
	}
	if _, err := d.command(d.client, "start", "c8-ns"); err != nil {
		return err
	}
	if err := d.wantTable([]string{d.client}, tableHead, tableRow, `^$`, `^1 machines? listed\.$`); err != nil {
		return err
	}
	if err := eventually(guestIsUp); err != nil {
		return err
	}
	if _, err := d.command(d.client, "stop", "c8-ns"); err != nil {
		return err
	}
	if err := eventually(d.listIsEmpty); err != nil {
		return err
	}
	if d.client == "machinectl" {
		// It waits for nothing, and the registration goes before
		// systemd-nspawn lets go of the directory that the next step needs.
		if err := eventually(unitIsOver); err != nil {
			return err
		}
	}
	return d.wantTable([]string{d.client}, `^No machines\.$`)
}

func unitIsOver() error {
	const unit = "systemd-nspawn@c8-ns.service"
	out, _ := quietly("systemctl", "is-active", unit)
	if state := strings.TrimSpace(out); state != "inactive" && state != "failed" {
		return fmt.Errorf("%s is %s", unit, state)
	}
	return nil
}

// guestIsUp: a container that was only just started takes no signal yet, and
// would lose the wish to stop it.
func guestIsUp() error {
	out, err := quietly("systemctl", "-M", "c8-ns", "is-system-running")
	if state := strings.TrimSpace(out); state != "running" && state != "degraded" {
		return fmt.Errorf("c8-ns is not up: %s %w", state, err)
	}
	return nil
}

func (d *demo) listIsEmpty() error {
	out, err := quietly(d.client, "--no-legend", "list")
	if err == nil && len(out) > 0 {
		err = fmt.Errorf("a machine is still listed: %s", out)
	}
	return err
}
