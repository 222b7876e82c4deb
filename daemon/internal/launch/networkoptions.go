package launch

import (
	"errors"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// What option network may be.
const (
	networkVeth = "veth"
	networkNone = "none"
	networkHost = "host"
)

// networkGiven returns the names of the network's options that are given.
func networkGiven(o machd.NetworkOptions) []string {
	return givenOf(append([]namedOption{
		{"network", o.Network != ""}, {"zone", o.Zone != ""}, {"bridge", o.Bridge != ""},
		{"network_veth_extra", len(o.VirtualEx) > 0}, {"macvlan", len(o.MACVLAN) > 0}, {"ipvlan", len(o.IPVLAN) > 0},
		{"interface", len(o.Interfaces) > 0},
	}, linkOptions(o)...))
}

// aboutLink returns the names of those that are about the link to the host,
// whichever the machine has.
func aboutLink(o machd.NetworkOptions) []string { return givenOf(linkOptions(o)) }

func linkOptions(o machd.NetworkOptions) []namedOption {
	return []namedOption{
		{"address", len(o.Addresses) > 0}, {"gateway", len(o.Gateways) > 0}, {"mac", o.MAC != ""},
		{"publish", len(o.Publish) > 0}, {"expose_host", len(o.ExposeHost) > 0},
	}
}

type namedOption struct {
	name  string
	given bool
}

func givenOf(options []namedOption) (names []string) {
	for _, o := range options {
		if o.given {
			names = append(names, o.name)
		}
	}
	return names
}

// wantsLink reports whether a link to the host is asked for.
func wantsLink(o machd.NetworkOptions) bool {
	return o.Network == networkVeth || o.Zone != "" || o.Bridge != ""
}

// wantsLinks reports whether any link is.
func wantsLinks(o machd.NetworkOptions) bool {
	return wantsLink(o) || len(o.VirtualEx)+len(o.MACVLAN)+len(o.IPVLAN)+len(o.Interfaces) > 0
}

// checkNetwork refuses what contradicts itself, and links that there are not:
// systemd-nspawn would fail when the unit has started. Addresses are for whoever
// gives them to machines to judge.
func checkNetwork(o machd.StartOptions) error {
	n := o.NetworkOptions
	for _, check := range []func(machd.NetworkOptions) error{checkWhichNetwork, checkLinks, checkPorts} {
		if err := check(n); err != nil {
			return err
		}
	}
	return nil
}

func checkWhichNetwork(o machd.NetworkOptions) error {
	about, all := aboutLink(o), networkGiven(o)
	switch o.Network {
	case "", networkVeth:
	case networkHost:
		if len(all) > 1 {
			return contradiction("Option 'network' is host, and such a machine has no links of its own, which option '%s' is about", all[1])
		}
	case networkNone:
		switch {
		case wantsLink(o):
			return contradiction("Option 'network' is none, and option '%s' asks for one", all[1])
		case len(about) > 0:
			return contradiction("Option 'network' is none, and option '%s' is about a link to the host", about[0])
		}
	default:
		return invalid("network", "'%s' is none of veth, none and host", o.Network)
	}
	if o.Zone != "" && o.Bridge != "" {
		return contradiction("Options 'zone' and 'bridge' contradict each other: a zone is a bridge of its own")
	}
	return nil
}

// zonePrefix is what systemd-nspawn puts before a zone's name to make that of
// its bridge.
const zonePrefix = "vz-"

func checkLinks(o machd.NetworkOptions) error {
	if o.Zone != "" && !isLinkName(zonePrefix+o.Zone) {
		return invalid("zone", "'%s' is no name of a zone, which has up to %d letters, digits and the like", o.Zone, maxLinkName-len(zonePrefix))
	}
	if o.Bridge != "" {
		if err := checkLink("bridge", o.Bridge, "bridge"); err != nil {
			return err
		}
	}
	for _, pair := range o.VirtualEx {
		if host, guest := cutPair(pair); !isLinkName(host) || !isLinkName(guest) {
			return invalid("network_veth_extra", "'%s' is not HOST[:GUEST], two names of links", pair)
		}
	}
	for _, list := range []struct {
		option string
		links  []string
	}{{"macvlan", o.MACVLAN}, {"ipvlan", o.IPVLAN}, {"interface", o.Interfaces}} {
		for _, pair := range list.links {
			host, guest := cutPair(pair)
			if !isLinkName(guest) {
				return invalid(list.option, "'%s' cannot be the name of a link", guest)
			}
			if err := checkLink(list.option, host, ""); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkLink refuses a link that the host does not have, or that is of another
// kind.
func checkLink(option, name, kind string) error {
	link, err := netlink.LinkByName(name)
	if notFound := (netlink.LinkNotFoundError{}); errors.As(err, &notFound) || name == "" {
		return invalid(option, "this host has no link '%s'", name)
	}
	if err == nil && kind != "" && link.Type() != kind {
		return invalid(option, "link '%s' is no %s but of kind %s", name, kind, link.Type())
	}
	return nil // who cannot look leaves it to systemd-nspawn
}

// cutPair returns the names of a link on the host and in the machine.
func cutPair(pair string) (host, guest string) {
	host, guest, ok := strings.Cut(pair, ":")
	if !ok {
		return host, host
	}
	return host, guest
}

const maxLinkName = 15 // bytes

// isLinkName reports whether the kernel and systemd take it for a link's name.
func isLinkName(name string) bool {
	return name != "" && len(name) <= maxLinkName && name != "." && name != ".." && name != "all" && name != "default" &&
		strings.Trim(name, "0123456789") != "" &&
		!strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(":/%", r) })
}

// checkPorts refuses ports that there cannot be, and those that are given twice.
func checkPorts(o machd.NetworkOptions) error {
	for _, list := range []struct {
		option, what string
		texts        []string
		parse        func(string) ([]machd.Port, error)
	}{{"publish", "on the host", o.Publish, machd.ParsePorts}, {"expose_host", "at the gateway", o.ExposeHost, machd.ParseInwardPorts}} {
		given := map[machd.Port]uint16{}
		for _, text := range list.texts {
			ports, err := list.parse(text)
			if err != nil {
				return machine1.Errorf(machine1.ErrInvalidArgs, "Invalid value of option '%s': %v", list.option, err)
			}
			for _, p := range ports {
				key, other := p, p.Guest
				if list.option == "expose_host" {
					key.Host, other = p.Guest, p.Host
				}
				key.Guest = 0
				if before, ok := given[key]; ok && before != other {
					return invalid(list.option, "port %d/%s %s leads to two, %d and %d", key.Host, key.Protocol, list.what, before, other)
				}
				given[key] = other
			}
		}
	}
	return nil
}

// networkArguments returns the options of systemd-nspawn for the links that are
// asked for. Addresses and ports are no matter of its.
func networkArguments(o machd.NetworkOptions) (given []argument) {
	switch o.Network {
	case networkVeth:
		given = append(given, flag("network-veth"))
	case networkNone:
		given = append(given, flag("private-network"))
	case networkHost:
		given = append(given, hostNetwork)
	}
	if o.Zone != "" {
		given = append(given, option("network-zone", o.Zone))
	}
	if o.Bridge != "" {
		given = append(given, option("network-bridge", o.Bridge))
	}
	for _, list := range []struct {
		option string
		values []string
	}{
		{"network-veth-extra", o.VirtualEx}, {"network-macvlan", o.MACVLAN}, {"network-ipvlan", o.IPVLAN},
		{"network-interface", o.Interfaces},
	} {
		for _, value := range list.values {
			given = append(given, option(list.option, value))
		}
	}
	return given
}

// networkIsFree refuses to put aside what the machine's settings say of its
// network where it is not plain that this is wanted, or where systemd-nspawn
// would let them win.
func networkIsFree(line commandLine, o machd.StartOptions, s *settingsFile) error {
	n := o.NetworkOptions
	mode, _ := line.has("settings")
	if !s.believedIn(mode.value) || o.Save || !wantsLinks(s.network()) {
		return nil
	}
	switch {
	case n.Network == networkHost:
		return contradiction("Option 'network' is host, and the machine's settings give it links, which systemd-nspawn has no option against; option 'save' changes the settings")
	case n.Network == "" && !wantsLink(n) && wantsLinks(n):
		return contradiction("Option '%s' adds a link, and the machine's settings name others, which systemd-nspawn would pass over then; "+
			"options 'network', 'zone' or 'bridge' beside it say what it is to have, and option 'save' adds it to the settings", networkGiven(n)[0])
	}
	return nil
}
