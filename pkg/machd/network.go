package machd

import (
	"net/netip"

	"github.com/godbus/dbus/v5"
)

// NetworkOptions are what a start can be told about the machine's network.
// Without any, the machine's settings and the host's template say what it has.
type NetworkOptions struct {
	Network    string   // network: veth, a link of its own to the host; none, a network without any; host, the host's own
	Zone       string   // zone: a network shared with the other machines of that zone
	Bridge     string   // bridge: a bridge of the host's that its link is put into
	VirtualEx  []string // network_veth_extra: more links to the host, HOST[:GUEST]
	MACVLAN    []string // macvlan: links of the host that it gets a macvlan of
	IPVLAN     []string // ipvlan: the same as an ipvlan
	Interfaces []string // interface: links of the host that it gets altogether
	Addresses  []string // address: of its link, with the length of the prefix
	Gateways   []string // gateway: the host's address on that link, or another router
	MAC        string   // mac: of its link
	Publish    []string // publish: ports of the host that lead to it, [ADDR:]HOST[:GUEST][/tcp|/udp]
	ExposeHost []string // expose_host: services of the host that it reaches at its gateway, PORT[:HOSTPORT][/tcp|/udp]
}

func (n *NetworkOptions) add(t table) table {
	t["network"], t["zone"], t["bridge"], t["mac"] = &n.Network, &n.Zone, &n.Bridge, &n.MAC
	t["network_veth_extra"], t["macvlan"], t["ipvlan"], t["interface"] = &n.VirtualEx, &n.MACVLAN, &n.IPVLAN, &n.Interfaces
	t["address"], t["gateway"], t["publish"], t["expose_host"] = &n.Addresses, &n.Gateways, &n.Publish, &n.ExposeHost
	return t
}

// A Protocol of published ports.
type Protocol string

// The protocols that have ports.
const (
	TCP Protocol = "tcp"
	UDP Protocol = "udp"
)

// A Port is one port of the host that leads to one of a machine.
type Port struct {
	Protocol Protocol
	Address  netip.Addr // of the host; the zero Addr is every one of them
	Host     uint16     // on the host
	Guest    uint16     // in the machine
}

// A PortStatus is what there is to tell about a published port. It goes over the
// bus as a structure.
type PortStatus struct {
	Machine  string
	Protocol string
	Address  string // "" is every one of the host's
	Host     uint16
	Guest    uint16
	Inward   bool   // a service of the host for the machine: Guest is where it finds it, Host where it is
	Packets  uint64 // both ways, since it was published
	Bytes    uint64
	Answers  bool // somebody listens at the other end
}

// A Finding is what a diagnosis says about one thing. It goes over the bus as a
// structure.
type Finding struct {
	Check   string // which check found it, such as "port"
	Subject string // a machine, link, unit or file; "" is the host
	Level   string // LevelOK, LevelWarning or LevelError
	What    string // is there, one line
	Why     string // it is so, and what follows; may be ""
	Command string // that mends it, for a shell; may be ""
	Safe    bool   // fix does that
	Fixed   bool   // it was done now
}

// Levels of findings.
const (
	LevelOK      = "ok"
	LevelWarning = "warning"
	LevelError   = "error"
)

// DiagnoseOptions are what a diagnosis can be told.
type DiagnoseOptions struct {
	Fix bool // fix: do what is safe
}

func (o *DiagnoseOptions) table() table { return table{"fix": &o.Fix} }

// Variants returns o as it goes over the bus.
func (o DiagnoseOptions) Variants() map[string]dbus.Variant { return o.table().variants() }

// ParseDiagnoseOptions reads options that came over the bus, as ParseBindOptions
// does.
func ParseDiagnoseOptions(options map[string]dbus.Variant) (o DiagnoseOptions, err error) {
	err = o.table().parse(options)
	return o, err
}

// PortOptions are what publishing ports can be told.
type PortOptions struct {
	Save   bool // save: for later starts, too
	Inward bool // inward: services of the host for the machine
}

func (o *PortOptions) table() table { return table{"save": &o.Save, "inward": &o.Inward} }

// Variants returns o as it goes over the bus.
func (o PortOptions) Variants() map[string]dbus.Variant { return o.table().variants() }

// ParsePortOptions reads options that came over the bus, as ParseBindOptions
// does.
func ParsePortOptions(options map[string]dbus.Variant) (o PortOptions, err error) {
	err = o.table().parse(options)
	return o, err
}
