package main

import (
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/machd/machd/pkg/machd"
)

// network NAME [KEY=VALUE…] says what there is to tell of a machine's network; a
// list has commas.
func scriptNetwork(ts *testscript.TestScript, _ bool, args []string) {
	s := machd.NetworkStatus{By: machd.NetworkByMachd, Managed: true}
	texts := map[string]*string{"link": &s.Link, "kind": &s.Kind, "zone": &s.Zone, "bridge": &s.Bridge, "by": &s.By}
	lists := map[string]*[]string{"addresses": &s.Addresses, "gateways": &s.Gateways, "problems": &s.Problems}
	for _, arg := range args[1:] {
		key, value, _ := strings.Cut(arg, "=")
		switch {
		case texts[key] != nil:
			*texts[key] = value
		case lists[key] != nil:
			*lists[key] = strings.Split(value, ",")
		default:
			ts.Fatalf("network: what is %q?", arg)
		}
	}
	worldOf(ts).SetNetwork(args[0], s)
}

// port NAME PORT [inward] [answers] [packets=N] [bytes=N] publishes a port.
func scriptPort(ts *testscript.TestScript, _ bool, args []string) {
	inward := slices.Contains(args, "inward")
	ports, err := machd.ParsePortList(args[1:2], inward)
	ts.Check(err)
	s := machd.PortStatus{
		Machine: args[0], Protocol: string(ports[0].Protocol), Host: ports[0].Host, Guest: ports[0].Guest,
		Inward: inward, Answers: slices.Contains(args, "answers"),
	}
	if ports[0].Address.IsValid() {
		s.Address = ports[0].Address.String()
	}
	for _, arg := range args[2:] {
		key, value, _ := strings.Cut(arg, "=")
		if number := map[string]*uint64{"packets": &s.Packets, "bytes": &s.Bytes}[key]; number != nil {
			*number, err = strconv.ParseUint(value, 10, 64)
			ts.Check(err)
		}
	}
	worldOf(ts).AddPort(s)
}

// finding LEVEL CHECK SUBJECT WHAT [WHY [COMMAND]] [safe] is what a diagnosis
// finds.
func scriptFinding(ts *testscript.TestScript, _ bool, args []string) {
	f := machd.Finding{Level: args[0], Check: args[1], Subject: args[2], What: args[3]}
	rest := args[4:]
	if n := len(rest); n > 0 && rest[n-1] == "safe" {
		f.Safe, rest = true, rest[:n-1]
	}
	for i, to := range []*string{&f.Why, &f.Command} {
		if i < len(rest) {
			*to = rest[i]
		}
	}
	worldOf(ts).AddFinding(f)
}
