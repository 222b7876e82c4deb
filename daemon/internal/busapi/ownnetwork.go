package busapi

import (
	"context"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// Networker has the networks of machines; *network.Manager is it.
type Networker interface {
	// AddPorts and RemovePorts do it for all of them, or for none. Those to remove
	// are as of machd.ParseRemovedPorts.
	AddPorts(ctx context.Context, name string, ports []machd.Port, inward bool) error
	RemovePorts(ctx context.Context, name string, ports []machd.Port, inward bool) (removed []machd.Port, err error)
	// Ports tells of one machine's, or if name is "" of all there are.
	Ports(ctx context.Context, name string) ([]machd.PortStatus, error)
	Describe(name string) (machd.NetworkStatus, error)
}

// PortSaver keeps ports for later starts; *launch.Launcher does.
type PortSaver interface {
	SavePorts(name string, ports []machd.Port, inward bool) error
	ForgetPorts(name string, ports []machd.Port, inward bool) error
}

// Doctor looks for what is wrong; *doctor.Doctor does.
type Doctor interface {
	// Diagnose is about one machine, or if name is "" about the host and all
	// machines.
	Diagnose(ctx context.Context, name string, o machd.DiagnoseOptions) ([]machd.Finding, error)
}

const portText = "A port is `[ADDR:]HOST[:GUEST][/tcp|/udp]`, where HOST and GUEST may be ranges `FIRST-LAST` and an IPv6 address is in brackets; with `inward` it is `GUEST[:HOST][/tcp|/udp]`, a service of the host that the machine finds at that port of its gateway."

// networkRows are about the networks of machines.
var networkRows = []vtable.Method{
	{
		Name: "AddPorts",
		Doc:  "Has ports of the host lead to a machine: all of them, or none. " + portText + " A port that somebody has already is refused, with who that is.",
		In:   "machine ports options", Access: machd.ActionManageNetwork, Slow: true, Func: ofMachine(ownAddPorts),
	},
	{
		Name: "RemovePorts",
		Doc:  "Takes ports back, and ends the connections that go through them. They are named as in AddPorts, or without their second number, wherever the first one leads.",
		In:   "machine ports options", Access: machd.ActionManageNetwork, Slow: true, Func: ofMachine(ownRemovePorts),
	},
	{
		Name: "ListPorts",
		Doc:  "Tells which ports lead to a machine, or to all if the name is empty: machine, protocol, address of the host (empty for every one), port of the host, port in the machine, whether it is a service of the host for the machine, packets and bytes both ways so far, and whether somebody listens at its end.",
		In:   "machine", Out: "ports", Slow: true, Func: ownListPorts,
	},
	{
		Name: "DescribeNetwork",
		Doc:  "Tells of a machine's network what is known: `link` of the host, `guest_link`, `kind` (`veth`, `zone`, `bridge`, `other`), `zone`, `bridge`, `mac`, `addresses`, `gateways`, `managed`, `by` (`machd`, `networkd`, `administrator`), `dns`, `problems`.",
		In:   "machine", Out: "network", Slow: true, Func: ofMachine(ownDescribeNetwork),
	},
	{
		Name: "Diagnose",
		Doc:  "Looks for what is wrong with a machine, or if the name is empty with the host and all of them: which check, what it is about, `ok`, `warning` or `error`, what there is, why, a command that mends it, whether the option does that, and whether it has done it now.",
		In:   "machine options", Out: "findings", Access: machd.ActionManageNetwork, Slow: true, Func: ownDiagnose,
	},
}

// networkMachineRows are the same on a machine's object.
var networkMachineRows = []vtable.Method{
	{
		Name: "AddPorts",
		Doc:  "As the Manager's.",
		In:   "ports options", Access: machd.ActionManageNetwork, Slow: true, Func: ownAddPorts,
	},
	{
		Name: "RemovePorts",
		Doc:  "As the Manager's.",
		In:   "ports options", Access: machd.ActionManageNetwork, Slow: true, Func: ownRemovePorts,
	},
	{
		Name: "DescribeNetwork",
		Doc:  "As the Manager's.",
		Out:  "network", Slow: true, Func: ownDescribeNetwork,
	},
}

var errNoNetworks = machine1.Errorf(machine1.ErrNotSupported, "This daemon sets up no networks")

// parsePorts is machd.ParsePortList, or its like.
type parsePorts func(texts []string, inward bool) ([]machd.Port, error)

func ownAddPorts(ctx context.Context, c *vtable.Call, o machineObject, texts []string, opts options) error {
	name, ports, parsed, err := o.mayChangePorts(ctx, c, access.OwnAddPorts, machd.ParsePortList, texts, opts)
	if err != nil {
		return err
	}
	if err := o.api.network.AddPorts(ctx, name, ports, parsed.Inward); err != nil || !parsed.Save {
		return err
	}
	return o.api.launcher.SavePorts(name, ports, parsed.Inward)
}

func ownRemovePorts(ctx context.Context, c *vtable.Call, o machineObject, texts []string, opts options) error {
	name, ports, parsed, err := o.mayChangePorts(ctx, c, access.OwnRemovePorts, machd.ParseRemovedPorts, texts, opts)
	if err != nil {
		return err
	}
	removed, err := o.api.network.RemovePorts(ctx, name, ports, parsed.Inward)
	if err != nil || !parsed.Save {
		return err
	}
	return o.api.launcher.ForgetPorts(name, removed, parsed.Inward)
}

// mayChangePorts returns the machine that the caller may change ports of, and what
// parse reads of these.
func (o machineObject) mayChangePorts(ctx context.Context, c *vtable.Call, rule access.Rule, parse parsePorts, texts []string, opts options) (
	name string, ports []machd.Port, parsed machd.PortOptions, err error) {
	if parsed, err = machd.ParsePortOptions(opts); err != nil {
		return "", nil, parsed, err
	}
	if ports, err = parse(texts, parsed.Inward); err != nil {
		return "", nil, parsed, err
	}
	m, err := o.ask(ctx, c, rule, access.PortDetails(texts, parsed))
	if err == nil && o.api.network == nil {
		err = errNoNetworks
	}
	return m.Name, ports, parsed, err
}

// ownListPorts is open to everybody: whoever tries them finds them.
func ownListPorts(ctx context.Context, _ *vtable.Call, a *API, name string) ([]machd.PortStatus, error) {
	if name != "" {
		m, err := a.find(name)
		if err != nil {
			return nil, err
		}
		name = m.Name
	}
	if a.network == nil {
		return nil, errNoNetworks
	}
	return a.network.Ports(ctx, name)
}

func ownDescribeNetwork(_ context.Context, _ *vtable.Call, o machineObject) (options, error) {
	if o.api.network == nil {
		return nil, errNoNetworks
	}
	s, err := o.api.network.Describe(o.machine.Name)
	return s.Variants(), err
}

func ownDiagnose(ctx context.Context, c *vtable.Call, a *API, name string, opts options) ([]machd.Finding, error) {
	parsed, err := machd.ParseDiagnoseOptions(opts)
	if err != nil {
		return nil, err
	}
	if name != "" {
		m, err := a.find(name)
		if err != nil {
			return nil, err
		}
		name = m.Name
	}
	if err := a.ask(ctx, c, access.Diagnose(parsed), map[string]string{"machine": name}); err != nil {
		return nil, err
	}
	if a.doctor == nil {
		return nil, machine1.Errorf(machine1.ErrNotSupported, "This daemon diagnoses nothing")
	}
	return a.doctor.Diagnose(ctx, name, parsed)
}
