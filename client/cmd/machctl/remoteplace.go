package main

import (
	"os"
	"strings"

	"github.com/machd/machd/client"
)

// outerPlace names the variable by which machctl on another host, or in a
// machine, is told which options lead there, so that its hints are for who has
// asked.
const outerPlace = "MACHCTL_PLACE"

// readOuterPlace keeps it from what is run by us, which is somebody else's.
func (o *options) readOuterPlace() {
	o.outer = os.Getenv(outerPlace)
	_ = os.Unsetenv(outerPlace)
}

// nextPlace is the options that lead to where machctl is run for us, by ssh or in
// a machine: from a host, it gets into a machine by itself.
func (o *options) nextPlace() string {
	if o.host.given {
		return "-H " + o.host.itself().String()
	}
	return o.place()
}

// machinePlace is those that lead into the machine that is spoken of.
func (o *options) machinePlace() string {
	if host, ok := strings.CutPrefix(o.outer, "-H "); ok && !strings.Contains(host, "/") {
		return o.outer + "/" + o.machine.Name
	}
	return "-M " + o.machine.String()
}

// place is those that lead to whose machines are spoken of, for systemctl as for
// machctl.
func (o *options) place() string {
	switch {
	case o.host.given:
		return "-H " + o.host.String()
	case o.machine.given && (o.elsewhere() || o.outer == ""):
		return o.machinePlace()
	}
	return o.outer
}

// placed is a hint whose commands are about where the machines are.
func (o *options) placed(hint string) string {
	place := o.place()
	if o.halfway {
		place = o.outer
	}
	for _, command := range []string{"machctl", "systemctl"} {
		place := place
		if o.user && command == "machctl" { // the others are told where they are made
			place = strings.TrimSpace("--user " + place)
		}
		if place == "" {
			continue
		}
		parts := strings.Split(hint, `"`+command+" ")
		for i, rest := range parts[1:] {
			if strings.HasPrefix(rest, "-") || strings.HasPrefix(rest, "help ") || strings.HasPrefix(rest, `help"`) {
				continue // it is about the very place, or about any
			}
			parts[i+1] = place + " " + rest
		}
		hint = strings.Join(parts, `"`+command+" ")
	}
	return hint
}

// scoped is a command line of systemctl or journalctl for the service manager
// whose machines are spoken of.
func (o *options) scoped(command string) string {
	name, rest, _ := strings.Cut(command, " ")
	place := o.place()
	if text, byHost := strings.CutPrefix(place, "-H "); byHost && name != "systemctl" {
		// journalctl knows no hosts.
		host, _ := client.ParseHost(text)
		name, place = "ssh "+sshName(host)+" "+name, ""
		if host.Container != "" {
			place = "-M " + host.Container
		}
	}
	if o.user {
		name += " --user"
	}
	if place != "" {
		name += " " + place
	}
	return name + " " + rest
}
