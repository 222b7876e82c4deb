package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/machd/machd/client/internal/table"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

const portHelp = `port add NAME PORT… has ports of the host lead to a machine that runs, port remove
NAME PORT… takes them back and ends the connections through them, and port list
[NAME…] shows which there are. All of the PORTs are added or removed, or none.

PORT is [ADDRESS:]HOST[:GUEST][/tcp|/udp]: HOST on the host leads to GUEST in the
machine, the same port if that is left out. Both may be ranges, FIRST-LAST. With
an ADDRESS it is that one of the host's only, an IPv6 address in brackets, and
otherwise each, 127.0.0.1 and ::1 among them. A port that a program on the host
or another machine has already is refused. port remove finds one by its HOST,
ADDRESS and protocol, also without the GUEST.

With --inward, PORT is GUEST[:HOST][/tcp|/udp]: the machine finds the service at
HOST of the host, which may listen on 127.0.0.1 only, at GUEST of its gateway; in
the list such ports have "inward" for an address. With --save the change is made
for later starts, too.

The list counts packets and bytes both ways. ANSWERS says whether somebody
listens at the port's end.`

// port adds, removes and lists ports.
func (a *app) port(ctx context.Context, args []string) error {
	what, args := args[0], args[1:]
	switch what {
	case "list":
		return a.listPorts(ctx, args)
	case "add", "remove":
	default:
		return usagef("port: there is no %q, only add, remove and list", what)
	}
	if len(args) < 2 {
		return usagef("port: it is machctl port %s NAME PORT…", what)
	}
	name, ports := args[0], args[1:]
	if err := checkPorts("port", ports, a.inward); err != nil {
		return err
	}
	if err := a.actOn(ctx, name, machd.ActionManageNetwork); err != nil {
		return err
	}
	ctx, cancel := a.limit(ctx)
	defer cancel()
	o := machd.PortOptions{Inward: a.inward, Save: a.launch.Save}
	if what == "add" {
		return a.client.AddPorts(ctx, name, ports, o)
	}
	err := a.client.RemovePorts(ctx, name, ports, o)
	if errors.Is(err, machine1.ErrInvalidArgs) {
		return &hintedError{err, fmt.Sprintf(`"machctl port list %s" shows those that it has`, name)}
	}
	return err
}

func (a *app) listPorts(ctx context.Context, names []string) error {
	if err := checkNames(names, machine1.ValidLookupName); err != nil {
		return err
	}
	if err := a.connect(ctx); err != nil {
		return err
	}
	if len(names) == 0 {
		names = []string{""} // all
	}
	var ports []machd.PortStatus
	err := each(names, func(name string) error {
		ctx, cancel := a.limit(ctx)
		defer cancel()
		some, err := a.client.Ports(ctx, name)
		ports = append(ports, some...)
		return err
	})
	if err != nil && len(ports) == 0 {
		return err
	}
	return join(err, printList(a, portList(), ports))
}

func portList() listing[machd.PortStatus] {
	type port = machd.PortStatus
	return listing[port]{what: "ports", columns: []column[port]{
		{key: "machine", head: "MACHINE", value: func(p port) any { return p.Machine }, keep: true},
		{
			// null is every one of the host's.
			key: "address", head: "ADDRESS", value: func(p port) any { return p.Address },
			cell: func(p port) table.Cell { return cell(addressOf(p), nil) },
		},
		{
			key: "host", head: "PORT", value: func(p port) any { return p.Host }, right: true,
			cell: func(p port) table.Cell { return cell(hostPort(p), nil) },
		},
		{key: "guest", head: "GUEST", value: func(p port) any { return p.Guest }, right: true},
		{key: "protocol", head: "PROTOCOL", value: func(p port) any { return p.Protocol }, shown: asked},
		{key: "inward", head: "INWARD", value: func(p port) any { return p.Inward }, shown: asked},
		{key: "packets", head: "PACKETS", value: func(p port) any { return p.Packets }, right: true},
		{
			key: "bytes", head: "BYTES", value: func(p port) any { return p.Bytes }, right: true,
			cell: func(p port) table.Cell { return cell(size(p.Bytes), nil) },
		},
		{key: "answers", head: "ANSWERS", value: func(p port) any { return p.Answers }, cell: answersCell},
	}}
}

func answersCell(p machd.PortStatus) table.Cell {
	if p.Answers {
		return table.Cell{Text: "yes"}
	}
	return table.Cell{Text: "no", Style: styleRed}
}

// addressOf returns at which address of the host a port is.
func addressOf(p machd.PortStatus) string {
	switch {
	case p.Inward:
		return "inward"
	case p.Address == "":
		return "all"
	}
	return p.Address
}

func hostPort(p machd.PortStatus) string { return strconv.Itoa(int(p.Host)) + "/" + p.Protocol }
