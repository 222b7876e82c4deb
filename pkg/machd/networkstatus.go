package machd

import "github.com/godbus/dbus/v5"

// A NetworkStatus is what there is to tell about a machine's network. What is
// not known is zero.
type NetworkStatus struct {
	Link      string   // link: the host's side
	GuestLink string   // guest_link: the machine's
	Kind      string   // kind: LinkVeth and its like
	Zone      string   // zone: that it is in
	Bridge    string   // bridge: that Link is in, that of its zone too
	MAC       string   // mac: of the machine's side
	Addresses []string // addresses: of the machine's side, with the length of the prefix
	Gateways  []string // gateways: what it reaches others through
	Managed   bool     // managed: by machd, the link and its addresses
	By        string   // by: whom they are managed by, NetworkByMachd and its like
	DNS       []string // dns: servers that it is told of
	Problems  []string // problems: a sentence each
}

// Kinds of links of machines.
const (
	LinkVeth   = "veth"   // to the host alone
	LinkZone   = "zone"   // into a bridge that machines of a zone share
	LinkBridge = "bridge" // into a bridge of the host's
	LinkOther  = "other"
)

// Who manages the link of a machine, if somebody does.
const (
	NetworkByMachd         = "machd"
	NetworkByNetworkd      = "networkd"
	NetworkByAdministrator = "administrator"
)

func (s *NetworkStatus) table() table {
	return table{
		"link": &s.Link, "guest_link": &s.GuestLink, "kind": &s.Kind, "zone": &s.Zone, "bridge": &s.Bridge, "mac": &s.MAC,
		"addresses": &s.Addresses, "gateways": &s.Gateways, "managed": &s.Managed, "by": &s.By, "dns": &s.DNS, "problems": &s.Problems,
	}
}

// Variants returns s as it goes over the bus.
func (s NetworkStatus) Variants() map[string]dbus.Variant { return s.table().variants() }

// NetworkStatusOf reads what came over the bus. It passes over what it does not
// know: a newer daemon may tell more.
func NetworkStatusOf(told map[string]dbus.Variant) (s NetworkStatus) {
	t := s.table()
	for name, pointer := range t {
		if value, ok := told[name]; ok {
			store(pointer, value.Value())
		}
	}
	return s
}
