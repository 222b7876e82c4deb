package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/machd/machd/client"
	"github.com/machd/machd/pkg/machd"
)

// networkRows are what machd knows of a machine's network. Where another daemon
// is asked, or in the words of machinectl, there are none.
func (a *app) networkRows(ctx context.Context, b *block, m client.Machine) {
	if a.stock {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, a.timeout.or(listTimeout))
	defer cancel()
	n, err := a.client.Network(ctx, m.Name)
	if err != nil || n.Link == "" {
		return
	}
	b.row("Network", networkText(n))
	b.list("Gateway", n.Gateways)
	ports, _ := a.client.Ports(ctx, m.Name) // those that cannot be told are left out
	lines := make([]string, len(ports))
	for i, p := range ports {
		lines[i] = portText(p)
	}
	b.list("Port", lines)
	b.list("Problem", n.Problems)
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
