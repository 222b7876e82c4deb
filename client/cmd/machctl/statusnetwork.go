package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/machd/machd/pkg/machd"
)

// networkRows are what machd knows of a machine's network. Where another daemon
// is asked there are none.
func networkRows(b *block, r *report) {
	if r.network.Link == "" {
		return
	}
	b.row("Network", networkText(r.network))
	b.list("Gateway", r.network.Gateways)
	lines := make([]string, len(r.ports))
	for i, p := range r.ports {
		lines[i] = portText(p)
	}
	b.list("Port", lines)
	b.list("Problem", r.network.Problems)
}

// list is a row of several lines.
func (b *block) list(label string, lines []string) {
	for i, line := range lines {
		if i == 0 {
			b.row(label, line)
			continue
		}
		fmt.Fprintf(b, "\t          %s\n", printable(line))
	}
}

func networkText(n machd.NetworkStatus) string {
	text := n.Link
	if n.Bridge != "" && n.Bridge != n.Link {
		text += " in " + n.Bridge
	}
	if n.Zone != "" {
		text += ", zone " + n.Zone
	}
	if n.By != "" {
		text += ", by " + n.By
	}
	return text
}

// portText shows which way a port leads.
func portText(p machd.PortStatus) string {
	text := hostPort(p)
	switch {
	case strings.Contains(p.Address, ":"):
		text = "[" + p.Address + "]:" + text
	case p.Address != "":
		text = p.Address + ":" + text
	}
	arrow := " -> "
	if p.Inward {
		arrow = " <- "
	}
	text += arrow + strconv.Itoa(int(p.Guest))
	if !p.Answers {
		text += ", nobody listens"
	}
	return text
}
