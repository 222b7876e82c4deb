package varlinkapi

import (
	"context"
	"maps"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/varlink"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// Networker has the networks of machines; *network.Manager is it.
type Networker interface {
	AddPorts(ctx context.Context, name string, ports []machd.Port, inward bool) error
	RemovePorts(ctx context.Context, name string, ports []machd.Port, inward bool) (removed []machd.Port, err error)
	Ports(ctx context.Context, name string) ([]machd.PortStatus, error)
	Describe(name string) (machd.NetworkStatus, error)
}

// PortSaver keeps ports for later starts; *launch.Launcher does.
type PortSaver interface {
	SavePorts(name string, ports []machd.Port, inward bool) error
	ForgetPorts(name string, ports []machd.Port, inward bool) error
}

// networkOptions are those of a start about the machine's network.
var networkOptions = varlink.Fields{
	option("network", "veth, a link to the host; none; or host, the host's own", varlink.String),
	option("zone", "A network shared with the other machines of that zone", varlink.String),
	option("bridge", "Of the host, that its link is put into", varlink.String),
	option("networkVethExtra", "More links to the host, HOST[:GUEST]", varlink.Array(varlink.String)),
	option("macvlan", "Links of the host that it gets a macvlan of", varlink.Array(varlink.String)),
	option("ipvlan", "The same as an ipvlan", varlink.Array(varlink.String)),
	option("interface", "Links of the host that it gets altogether", varlink.Array(varlink.String)),
	option("address", "Of its link, with the length of the prefix", varlink.Array(varlink.String)),
	option("gateway", "The host's address on that link, or another router", varlink.Array(varlink.String)),
	option("mac", "Of its link", varlink.String),
	option("publish", "Ports of the host that lead to it, as in AddPorts", varlink.Array(varlink.String)),
	option("exposeHost", "Services of the host that it finds at its gateway, PORT[:HOSTPORT][/tcp|/udp]", varlink.Array(varlink.String)),
}

var portStatus = varlink.Struct("Port",
	varlink.Field{Name: "machine", Type: varlink.String},
	varlink.Field{Name: "protocol", Type: varlink.Enum("Protocol", string(machd.TCP), string(machd.UDP))},
	varlink.Field{Name: "address", Doc: "Of the host; left out if it is every one", Type: varlink.String, Nullable: true},
	varlink.Field{Name: "host", Doc: "Port on the host", Type: varlink.Int},
	varlink.Field{Name: "guest", Doc: "Port in the machine, or if it is inward at its gateway", Type: varlink.Int},
	varlink.Field{Name: "inward", Doc: "It is a service of the host for the machine", Type: varlink.Bool},
	varlink.Field{Name: "packets", Doc: "Both ways so far", Type: varlink.Int},
	varlink.Field{Name: "bytes", Doc: "Both ways so far", Type: varlink.Int},
	varlink.Field{Name: "answers", Doc: "Somebody listens at its end", Type: varlink.Bool})

// changedPorts is the input of methods that change ports.
func changedPorts() varlink.Fields {
	return onMachine(
		varlink.Field{Name: "ports", Type: varlink.Array(varlink.String),
			Doc: "[ADDR:]HOST[:GUEST][/tcp|/udp], or GUEST[:HOST][/tcp|/udp] if they are inward; each may be a range"},
		option("inward", "Services of the host for the machine", varlink.Bool),
		option("save", "For later starts, too", varlink.Bool))
}

// networkMethods are about the networks of machines.
var networkMethods = []varlink.Method[*API]{
	{
		Name:   "AddPorts",
		Doc:    "Has ports of the host lead to a machine: all of them, or none",
		In:     changedPorts(),
		Access: machd.ActionManageNetwork,
		Func:   ownAddPorts,
	},
	{
		Name:   "RemovePorts",
		Doc:    "Takes ports back, and ends the connections that go through them; the first number is enough to name one",
		In:     changedPorts(),
		Access: machd.ActionManageNetwork,
		Func:   ownRemovePorts,
	},
	{
		Name: "ListPorts",
		Doc:  "Tells which ports lead to a machine, or to all if none is named",
		In:   varlink.Fields{{Name: "name", Type: varlink.String, Nullable: true, Valid: isLookupName}},
		Out:  varlink.Fields{{Name: "ports", Type: varlink.Array(portStatus)}},
		Func: ownListPorts,
	},
	{
		Name: "DescribeNetwork",
		Doc:  "Tells what is known of a machine's network",
		In:   onMachine(),
		Out: varlink.Fields{
			{Name: "link", Doc: "Of the host", Type: varlink.String, Nullable: true},
			{Name: "guestLink", Doc: "Of the machine", Type: varlink.String, Nullable: true},
			{Name: "kind", Doc: "veth, zone, bridge or other", Type: varlink.String, Nullable: true},
			{Name: "zone", Type: varlink.String, Nullable: true},
			{Name: "bridge", Type: varlink.String, Nullable: true},
			{Name: "mac", Type: varlink.String, Nullable: true},
			{Name: "addresses", Type: varlink.Array(varlink.String)},
			{Name: "gateways", Type: varlink.Array(varlink.String)},
			{Name: "managed", Doc: "By machd", Type: varlink.Bool},
			{Name: "by", Doc: "Whom it is managed by: machd, networkd, administrator", Type: varlink.String, Nullable: true},
			{Name: "dns", Type: varlink.Array(varlink.String)},
			{Name: "problems", Type: varlink.Array(varlink.String)},
		},
		Func: ownDescribeNetwork,
	},
}

var errNoNetworks = machine1.Errorf(machine1.ErrNotSupported, "This daemon sets up no networks")

// parsePorts is machd.ParsePortList, or its like.
type parsePorts func(texts []string, inward bool) ([]machd.Port, error)

func ownAddPorts(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	m, ports, o, err := a.mayChangePorts(ctx, c, access.OwnAddPorts, machd.ParsePortList)
	if err != nil {
		return nil, err
	}
	if err := a.Network.AddPorts(ctx, m.Name, ports, o.Inward); err != nil || !o.Save {
		return nil, err
	}
	return nil, a.Launcher.SavePorts(m.Name, ports, o.Inward)
}

func ownRemovePorts(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	m, ports, o, err := a.mayChangePorts(ctx, c, access.OwnRemovePorts, machd.ParseRemovedPorts)
	if err != nil {
		return nil, err
	}
	removed, err := a.Network.RemovePorts(ctx, m.Name, ports, o.Inward)
	if err != nil || !o.Save {
		return nil, err
	}
	return nil, a.Launcher.ForgetPorts(m.Name, removed, o.Inward)
}

// mayChangePorts returns the machine that the caller may change ports of, and what
// parse reads of these.
func (a *API) mayChangePorts(ctx context.Context, c *varlink.Call, rule access.Rule, parse parsePorts) (
	m machine.Machine, ports []machd.Port, o machd.PortOptions, err error) {
	texts := c.In.Strings("ports")
	o = machd.PortOptions{Inward: c.In.Bool("inward"), Save: c.In.Bool("save")}
	if m, err = a.find(ctx, c); err != nil {
		return m, nil, o, err
	}
	if ports, err = parse(texts, o.Inward); err != nil {
		return m, nil, o, err
	}
	details := access.PortDetails(texts, o)
	maps.Copy(details, map[string]string{"machine": m.Name})
	if m, err = a.authorize(ctx, c, m, rule, details); err == nil && a.Network == nil {
		err = errNoNetworks
	}
	return m, ports, o, err
}

type portRecord struct {
	Machine  string `json:"machine"`
	Protocol string `json:"protocol"`
	Address  string `json:"address,omitempty"`
	Host     uint16 `json:"host"`
	Guest    uint16 `json:"guest"`
	Inward   bool   `json:"inward"`
	Packets  uint64 `json:"packets"`
	Bytes    uint64 `json:"bytes"`
	Answers  bool   `json:"answers"`
}

// ownListPorts is open to everybody: whoever tries them finds them.
func ownListPorts(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	name, err := a.maybeMachine(ctx, c)
	if err != nil {
		return nil, err
	}
	if a.Network == nil {
		return nil, errNoNetworks
	}
	list, err := a.Network.Ports(ctx, name)
	if err != nil {
		return nil, err
	}
	ports := make([]portRecord, len(list))
	for i, p := range list {
		ports[i] = portRecord(p)
	}
	return struct {
		Ports []portRecord `json:"ports"`
	}{ports}, nil
}

// maybeMachine returns the name of a machine that is there, or "" if the call
// names none.
func (a *API) maybeMachine(ctx context.Context, c *varlink.Call) (string, error) {
	if !c.In.Has("name") {
		return "", nil
	}
	m, err := a.find(ctx, c)
	return m.Name, err
}

type networkRecord struct {
	Link      string   `json:"link,omitempty"`
	GuestLink string   `json:"guestLink,omitempty"`
	Kind      string   `json:"kind,omitempty"`
	Zone      string   `json:"zone,omitempty"`
	Bridge    string   `json:"bridge,omitempty"`
	MAC       string   `json:"mac,omitempty"`
	Addresses []string `json:"addresses"`
	Gateways  []string `json:"gateways"`
	Managed   bool     `json:"managed"`
	By        string   `json:"by,omitempty"`
	DNS       []string `json:"dns"`
	Problems  []string `json:"problems"`
}

func ownDescribeNetwork(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	m, err := a.find(ctx, c)
	if err != nil {
		return nil, err
	}
	if a.Network == nil {
		return nil, errNoNetworks
	}
	s, err := a.Network.Describe(m.Name)
	if err != nil {
		return nil, err
	}
	r := networkRecord(s)
	for _, list := range []*[]string{&r.Addresses, &r.Gateways, &r.DNS, &r.Problems} {
		*list = append([]string{}, *list...) // an empty array, not null
	}
	return r, nil
}
