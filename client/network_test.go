package client_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/client/internal/machine1test"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

func TestPortsAndNetworks(t *testing.T) {
	t.Parallel()
	w, c := connect(t)
	w.Add(machine1test.C8NS())
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(c.AddPorts(ctx, "c8-ns", []string{"8080:80", "[::1]:53/udp"}, machd.PortOptions{}))
	must(c.AddPorts(ctx, "c8-ns", []string{"80:8000"}, machd.PortOptions{Inward: true, Save: true}))
	must(c.RemovePorts(ctx, "c8-ns", []string{"8080:80"}, machd.PortOptions{}))
	want := []machd.PortStatus{
		{Machine: "c8-ns", Protocol: "udp", Address: "::1", Host: 53, Guest: 53},
		{Machine: "c8-ns", Protocol: "tcp", Host: 8000, Guest: 80, Inward: true},
	}
	for _, name := range []string{"", "c8-ns"} {
		ports, err := c.Ports(ctx, name)
		if diff := cmp.Diff(want, ports); err != nil || diff != "" {
			t.Errorf("ports of %q: %v (-want +got):\n%s", name, err, diff)
		}
	}
	network := machd.NetworkStatus{Link: "ve-c8-ns", Kind: machd.LinkVeth, Gateways: []string{"10.0.1.1"}, Managed: true, By: machd.NetworkByMachd}
	w.SetNetwork("c8-ns", network)
	if got, err := c.Network(ctx, "c8-ns"); err != nil || !cmp.Equal(got, network) {
		t.Errorf("%v:\n%s", err, cmp.Diff(network, got))
	}
	finding := machd.Finding{Check: "port", Subject: "c8-ns", Level: machd.LevelError, What: "it is closed", Why: "x", Command: "open it", Safe: true}
	w.AddFinding(finding)
	for _, fix := range []bool{false, true} {
		finding.Fixed = fix
		found, err := c.Diagnose(ctx, "c8-ns", machd.DiagnoseOptions{Fix: fix})
		if diff := cmp.Diff([]machd.Finding{finding}, found); err != nil || diff != "" {
			t.Errorf("fix %v: %v (-want +got):\n%s", fix, err, diff)
		}
	}
}

func TestNetworksThatThereAreNot(t *testing.T) {
	t.Parallel()
	w, c := connect(t)
	w.Add(machine1test.C8NS())
	calls := func(name string) map[string]error {
		ctx := t.Context()
		_, ports := c.Ports(ctx, name)
		_, network := c.Network(ctx, name)
		_, findings := c.Diagnose(ctx, name, machd.DiagnoseOptions{})
		return map[string]error{
			"add":    c.AddPorts(ctx, name, []string{"80"}, machd.PortOptions{}),
			"remove": c.RemovePorts(ctx, name, []string{"80"}, machd.PortOptions{}),
			"list":   ports, "describe": network, "diagnose": findings,
		}
	}
	for what, err := range calls("nope") {
		if !errors.Is(err, machine1.ErrNoSuchMachine) {
			t.Errorf("%s for nobody: %v", what, err)
		}
	}
	if err := c.AddPorts(t.Context(), "c8-ns", []string{"0"}, machd.PortOptions{}); !errors.Is(err, machine1.ErrInvalidArgs) {
		t.Errorf("port 0: %v", err)
	}
	w.BeStock(true)
	for what, err := range calls("c8-ns") {
		if !errors.Is(err, machine1.ErrNotSupported) {
			t.Errorf("%s of systemd-machined: %v", what, err)
		}
	}
}
