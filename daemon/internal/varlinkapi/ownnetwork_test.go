package varlinkapi

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// network has one network, and remembers what it and the settings were told.
type network struct {
	Launcher // for what no test here asks
	mu       sync.Mutex
	calls    []string

	hang  atomic.Bool  // waits go on until they are ended
	waits atomic.Int32 // those that hang
}

func (n *network) note(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls = append(n.calls, fmt.Sprintf(format, args...))
}

// take returns the calls since the last take.
func (n *network) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	calls := n.calls
	n.calls = nil
	return calls
}

func (n *network) AddPorts(_ context.Context, name string, ports []machd.Port, inward bool) error {
	n.note("add %s %v %v", name, ports, inward)
	return nil
}

func (n *network) RemovePorts(_ context.Context, name string, ports []machd.Port, inward bool) ([]machd.Port, error) {
	n.note("remove %s %v %v", name, ports, inward)
	if ports[0].Guest == 80 {
		return ports, nil
	}
	return nil, machine1.Errorf(machine1.ErrInvalidArgs, "it has no such port")
}

func (n *network) Ports(_ context.Context, name string) ([]machd.PortStatus, error) {
	n.note("list %q", name)
	return []machd.PortStatus{{Machine: "web", Protocol: "udp", Host: 53, Guest: 5353, Packets: 1, Bytes: 2}}, nil
}

func (n *network) Describe(string) (machd.NetworkStatus, error) {
	return machd.NetworkStatus{Link: "ve-web", Kind: machd.LinkVeth, Addresses: []string{"10.0.0.2/30"}, Managed: true, By: machd.NetworkByMachd}, nil
}

func (n *network) Diagnose(_ context.Context, name string, o machd.DiagnoseOptions) ([]machd.Finding, error) {
	n.note("diagnose %q %v", name, o.Fix)
	return []machd.Finding{{Check: "link", Subject: name, Level: machd.LevelOK, What: "it is up"}}, nil
}

func (n *network) SavePorts(name string, ports []machd.Port, inward bool) error {
	n.note("save %s %v %v", name, ports, inward)
	return nil
}

func (n *network) ForgetPorts(name string, ports []machd.Port, inward bool) error {
	n.note("forget %s %v %v", name, ports, inward)
	return nil
}

func TestNetworksOverVarlink(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.register(t, "web", nil)
	for _, c := range []struct {
		method string
		in     input
		want   string
		asked  []string
		verb   string // of the question to polkit; "" if there is none
	}{
		{"AddPorts", input{"name": "web", "ports": []string{"8080:80", "[::1]:53/udp"}}, done,
			[]string{"add web [8080:80/tcp [::1]:53/udp] false"}, "add_ports"},
		{"AddPorts", input{"name": "web", "ports": []string{"80:8080"}, "inward": true, "save": true}, done,
			[]string{"add web [8080:80/tcp] true", "save web [8080:80/tcp] true"}, "add_ports"},
		{"RemovePorts", input{"name": "web", "ports": []string{"80"}, "save": true},
			`{"error":"org.machd.Machine.Failed","parameters":{"reason":"it has no such port","origin":"linux","errno":22,"errnoName":"EINVAL"}}`,
			[]string{"remove web [80:0/tcp] false"}, "remove_ports"},
		{"RemovePorts", input{"name": "web", "ports": []string{"8080:80"}, "save": true}, done,
			[]string{"remove web [8080:80/tcp] false", "forget web [8080:80/tcp] false"}, "remove_ports"},
		{"AddPorts", input{"name": "nobody", "ports": []string{"80"}}, noSuchMachine, nil, ""},
		{"ListPorts", input{}, `{"parameters":{"ports":[{"machine":"web","protocol":"udp","host":53,"guest":5353,"inward":false,"packets":1,"bytes":2,"answers":false}]}}`,
			[]string{`list ""`}, ""},
		{"ListPorts", input{"name": "nobody"}, noSuchMachine, nil, ""},
		{"DescribeNetwork", input{"name": "web"}, `{"parameters":{"link":"ve-web","kind":"veth","addresses":["10.0.0.2/30"],"gateways":[],"managed":true,"by":"machd","dns":[],"problems":[]}}`, nil, ""},
		{"Diagnose", input{"name": "web"}, `{"parameters":{"findings":[{"check":"link","subject":"web","level":"ok","what":"it is up","safe":false,"fixed":false}]}}`,
			[]string{`diagnose "web" false`}, "diagnose"},
		{"Diagnose", input{"fix": true}, `{"parameters":{"findings":[{"check":"link","level":"ok","what":"it is up","safe":false,"fixed":false}]}}`,
			[]string{`diagnose "" true`}, "fix"},
	} {
		f.polkit.take()
		got := f.call(t, machd.MachineVarlink+"."+c.method, c.in, false)
		if asked := f.network.take(); len(got) != 1 || got[0] != c.want || !slices.Equal(asked, c.asked) {
			t.Errorf("%s %v:\n got %s, asked %q\nwant %s, asked %q", c.method, c.in, got, asked, c.want, c.asked)
		}
		questions := f.polkit.take()
		if c.verb == "" && len(questions) > 0 || c.verb != "" &&
			(len(questions) != 1 || questions[0].Action != machd.ActionManageNetwork || questions[0].Details["verb"] != c.verb || questions[0].Owner != nil) {
			t.Errorf("%s %v: polkit is asked %v, want %q", c.method, c.in, questions, c.verb)
		}
	}
	f.polkit.refuse(machine1.ErrAccessDenied)
	for method, in := range map[string]input{
		"AddPorts": {"name": "web", "ports": []string{"80"}}, "RemovePorts": {"name": "web", "ports": []string{"80"}}, "Diagnose": {},
	} {
		if got := f.call(t, machd.MachineVarlink+"."+method, in, false); got[0] != denied || len(f.network.take()) > 0 {
			t.Errorf("%s without a right: %s", method, got)
		}
	}
}

// Every option of a start that the bus has is there, by its name.
func TestStartOptionsAreThoseOfTheBus(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, o := range startOptions {
		known[onBus(o.Name)] = true
	}
	for _, name := range []string{
		"network", "zone", "bridge", "network_veth_extra", "macvlan", "ipvlan", "interface", "address", "gateway", "mac", "publish", "expose_host",
	} {
		if !known[name] {
			t.Errorf("there is no option %s", name)
		}
	}
}
