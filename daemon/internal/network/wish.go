package network

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/pkg/nspawnfile"
)

// A wish is what a machine is to have, as far as somebody said so.
type wish struct {
	unwanted  bool           // nobody is to do anything about its network
	addresses []netip.Prefix // of its link, at most one a family
	gateways  []netip.Addr
	mac       net.HardwareAddr
	ports     []machd.Port
	inward    []machd.Port // services of the host for the machine
}

// wishOf reads what the options of a start say, and what the machine's own
// settings say of all that the options do not speak of.
func wishOf(o machd.NetworkOptions, settings *nspawnfile.File) (w wish, err error) {
	own := ownSettings(settings)
	if len(o.Addresses) == 0 {
		o.Addresses = own.Addresses
		if len(o.Gateways) == 0 {
			o.Gateways = own.Gateways
		}
	}
	if o.MAC == "" {
		o.MAC = own.MAC
	}
	o.Publish = append(slices.Clone(own.Publish), o.Publish...)
	o.ExposeHost = append(slices.Clone(own.ExposeHost), o.ExposeHost...)
	w.unwanted = own.Network == "no" && o.Network == "" && len(o.Addresses) == 0
	if w.addresses, err = parsePrefixes(o.Addresses); err != nil {
		return wish{}, err
	}
	if w.gateways, err = parseGateways(o.Gateways, w.addresses); err != nil {
		return wish{}, err
	}
	if o.MAC != "" {
		if w.mac, err = parseMAC(o.MAC); err != nil {
			return wish{}, err
		}
	}
	if w.ports, err = parsePorts(o.Publish, machd.ParsePorts); err != nil {
		return wish{}, err
	}
	w.inward, err = parsePorts(o.ExposeHost, machd.ParseInwardPorts)
	return w, err
}

// ownSettings returns what a .nspawn file says that is for machd. Port= is
// systemd-nspawn's, which would not make it answer on the host itself.
func ownSettings(f *nspawnfile.File) (o machd.NetworkOptions) {
	if f == nil {
		return o
	}
	o.Network, _ = f.Value(nspawnfile.Own, "Network")
	if yes, err := nspawnfile.ParseBool(o.Network); err == nil {
		o.Network = map[bool]string{true: "yes", false: "no"}[yes]
	}
	o.MAC, _ = f.Value(nspawnfile.Own, "MAC")
	o.Addresses = words(f.Values(nspawnfile.Own, "Address"))
	o.Gateways = words(f.Values(nspawnfile.Own, "Gateway"))
	o.Publish = append(words(f.Values(nspawnfile.Own, "Publish")), f.Values("Network", "Port")...)
	o.ExposeHost = words(f.Values(nspawnfile.Own, "ExposeHost"))
	return o
}

// words takes lists apart, which may stand in one line or in several.
func words(lines []string) (all []string) {
	for _, line := range lines {
		all = append(all, strings.Fields(line)...)
	}
	return all
}

func refused(format string, args ...any) error {
	return machine1.Errorf(machine1.ErrInvalidArgs, format, args...)
}

// parsePrefixes reads addresses of a machine's link. The smallest network is
// one that the gateway has room in.
func parsePrefixes(texts []string) (list []netip.Prefix, err error) {
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		switch {
		case err != nil && !strings.Contains(text, "/"):
			return nil, refused("Address '%s' lacks the length of its network's prefix, as 10.0.1.2/24 has it", text)
		case err != nil:
			return nil, refused("'%s' is no address with the length of a prefix, as 10.0.1.2/24 is", text)
		case p.Addr().Is4In6() || p.Addr().IsUnspecified() || p.Addr().IsLoopback() || p.Addr().IsMulticast() || p.Addr().IsLinkLocalUnicast():
			return nil, refused("Address '%s' is none that a machine can be reached at", text)
		case p.Addr().BitLen()-p.Bits() < 2:
			return nil, refused("The network of address '%s' has no room for a gateway; with /%d it has", text, p.Addr().BitLen()-2)
		case p.Addr() == p.Masked().Addr() || p.Addr().Is4() && p.Addr() == lastOf(p):
			return nil, refused("Address '%s' is that of the network itself, or of all in it", text)
		}
		if slices.ContainsFunc(list, func(o netip.Prefix) bool { return o.Addr().Is4() == p.Addr().Is4() }) {
			return nil, refused("Address '%s' is one too many: a machine's link gets one of IPv4 and one of IPv6", text)
		}
		list = append(list, p)
	}
	return list, nil
}

// lastOf returns the broadcast address of an IPv4 network.
func lastOf(p netip.Prefix) netip.Addr {
	return nth(p, 1<<(32-p.Bits())-1)
}

func parseGateways(texts []string, addresses []netip.Prefix) (list []netip.Addr, err error) {
	for _, text := range texts {
		g, err := netip.ParseAddr(text)
		if err != nil {
			return nil, refused("Gateway '%s' is no address", text)
		}
		i := slices.IndexFunc(addresses, func(p netip.Prefix) bool { return p.Contains(g) })
		switch {
		case i < 0:
			return nil, refused("Gateway '%s' is in the network of none of the machine's addresses", text)
		case addresses[i].Addr() == g:
			return nil, refused("Gateway '%s' is the machine's own address", text)
		}
		list = append(list, g)
	}
	return list, nil
}

func parseMAC(text string) (net.HardwareAddr, error) {
	mac, err := net.ParseMAC(text)
	switch {
	case err != nil || len(mac) != 6:
		return nil, refused("'%s' is no MAC address, as 02:00:00:00:00:01 is", text)
	case mac[0]&1 != 0:
		return nil, refused("MAC address '%s' is one of a group; the second digit has to be even", text)
	case strings.Trim(text, "0:-.") == "":
		return nil, refused("MAC address '%s' is none", text)
	}
	return mac, nil
}

func parsePorts(texts []string, parse func(string) ([]machd.Port, error)) (list []machd.Port, err error) {
	for _, text := range texts {
		ports, err := parse(text)
		if err != nil {
			return nil, err
		}
		for _, p := range ports {
			if slices.Contains(list, p) {
				continue // a start may repeat what is saved
			}
			list = append(list, p)
		}
	}
	return list, nil
}
