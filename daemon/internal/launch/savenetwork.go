package launch

import (
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/nspawnfile"
)

// saveNetwork writes links where systemd-nspawn reads them, and what it knows
// nothing about into our own section. Ports are there as well, though there is
// Port=: systemd-nspawn would publish those by rules of its own besides, which do
// not answer on the host itself, and it knows no ranges and no addresses.
func (s saving) saveNetwork(o machd.NetworkOptions) {
	s.saveLink(o)
	s.add("Network", "VirtualEthernetExtra", o.VirtualEx)
	s.add("Network", "MACVLAN", o.MACVLAN)
	s.add("Network", "IPVLAN", o.IPVLAN)
	s.add("Network", "Interface", o.Interfaces)
	s.setList("Address", o.Addresses)
	if len(o.Addresses) > 0 && len(o.Gateways) == 0 {
		s.settings.Remove(nspawnfile.Own, "Gateway", "") // it was in the network of another address
	}
	s.setList("Gateway", o.Gateways)
	s.set(s.settings, nspawnfile.Own, "MAC", o.MAC)
	s.add(nspawnfile.Own, "Publish", o.Publish)
	s.add(nspawnfile.Own, "ExposeHost", o.ExposeHost)
}

// saveLink says which network the machine has. What was saved of another one
// before would win, or fail.
func (s saving) saveLink(o machd.NetworkOptions) {
	remove := func(keys ...string) {
		for _, key := range keys {
			s.settings.Remove("Network", key, "")
		}
	}
	switch {
	case o.Network == networkHost:
		remove("Zone", "Bridge", "VirtualEthernetExtra", "MACVLAN", "IPVLAN", "Interface", "NamespacePath")
		s.settings.Set("Network", "Private", "no")
		s.settings.Set("Network", "VirtualEthernet", "no")
	case o.Network == networkNone:
		remove("Zone", "Bridge", "NamespacePath")
		s.settings.Set("Network", "Private", "yes")
		s.settings.Set("Network", "VirtualEthernet", "no")
	case o.Network == networkVeth || o.Zone != "" || o.Bridge != "":
		remove("Zone", "Bridge", "NamespacePath", "Private")
		s.settings.Set("Network", "VirtualEthernet", "yes")
		s.set(s.settings, "Network", "Zone", o.Zone)
		s.set(s.settings, "Network", "Bridge", o.Bridge)
	}
}

// setList replaces a list of our own section.
func (s saving) setList(key string, values []string) {
	if len(values) == 0 {
		return
	}
	s.settings.Remove(nspawnfile.Own, key, "")
	for _, value := range values {
		s.settings.Add(nspawnfile.Own, key, value)
	}
}
