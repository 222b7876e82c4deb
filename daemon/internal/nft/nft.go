// Package nft keeps the nftables tables that machd has: `inet machd`, which
// leads ports to machines, lets machines out and keeps them from what is not
// theirs, and `bridge machd`, which does the last for machines that share a
// bridge. It knows links, addresses and ports, no machines, and touches no table
// of anybody else.
//
// What a machine has is elements of sets; the rules are always the same. So a
// change is one batch whose time does not depend on how many machines there are.
package nft

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// A Port of the host that leads somewhere else.
//
// From ::1 it does not get to machines at a bridge, nor an Inward from these to
// ::1, while net.bridge.bridge-nf-call-ip6tables is 1: what comes by the bridge is
// translated before the kernel has received it, and then it is for ::1, which
// the kernel takes from no link.
type Port struct {
	Protocol uint8          // unix.IPPROTO_TCP or unix.IPPROTO_UDP
	Addr     netip.Addr     // of the host; the zero Addr is every one of To's family
	Port     uint16         // on the host
	To       netip.AddrPort // of a machine, on one of the Links
}

// A Link is the host's side of what machines are at: a veth, or a zone's bridge.
type Link struct {
	Name string
	// What may come from it. Besides, there may always come what has no address
	// yet, and what has one that is good on the link only.
	Sources []netip.Prefix
	// Given are networks that the host's administrator has put on the link: what
	// is in one may come from it, too, if the host would send an answer back there.
	// So addresses of the host's own and of other links stay out.
	Given []netip.Prefix
}

// A Member is a port of a bridge that several machines are at. None may speak
// for another one: neither with its MAC nor with its addresses.
type Member struct {
	Name    string
	MAC     net.HardwareAddr
	Sources []netip.Addr
}

// An Inward port is a service of the host that whoever is at Link finds at an
// address of that link.
type Inward struct {
	Link     string
	Protocol uint8
	At       netip.AddrPort // the host, as it is seen from Link
	To       netip.AddrPort // of the host; may be one of the loopback's
}

// An Uplink is a link to elsewhere whose forwarding of IPv4 or IPv6 was switched
// on for Links alone. What comes in there unasked goes nowhere else; what the host
// forwards of the other family for somebody else is not touched.
type Uplink struct {
	Name string
	IPv6 bool
}

// Rules are what the tables are to do.
type Rules struct {
	Links   []Link
	Members []Member
	Ports   []Port
	Inward  []Inward
	Uplinks []Uplink
	// Routers are link-local addresses of the host on the bridges of Members,
	// which none of these may take: they are everybody's way out.
	Routers []netip.Addr
}

// A Key tells ports apart: no two with the same one can be published.
type Key struct {
	Link     string // of an Inward; "" for a Port
	Protocol uint8
	At       netip.AddrPort // 0.0.0.0 or :: is every address of that family
}

// Key returns what p is known by.
func (p Port) Key() Key {
	addr := p.Addr.WithZone("")
	if !addr.IsValid() {
		addr = netip.IPv4Unspecified()
		if p.To.Addr().Is6() {
			addr = netip.IPv6Unspecified()
		}
	}
	return Key{Protocol: p.Protocol, At: netip.AddrPortFrom(addr, p.Port)}
}

// Key returns what i is known by.
func (i Inward) Key() Key { return Key{Link: i.Link, Protocol: i.Protocol, At: i.At} }

func (k Key) String() string {
	port := fmt.Sprintf("%d/%s", k.At.Port(), protocolName(k.Protocol))
	switch {
	case k.Link != "":
		return fmt.Sprintf("inward port %s of %s at %s", port, k.Link, k.At.Addr())
	case k.At.Addr().IsUnspecified():
		return fmt.Sprintf("port %s of IPv%s", port, version(k.At.Addr()))
	}
	return fmt.Sprintf("port %s of %s", port, k.At.Addr())
}

func protocolName(protocol uint8) string {
	switch protocol {
	case unix.IPPROTO_TCP:
		return "tcp"
	case unix.IPPROTO_UDP:
		return "udp"
	}
	return fmt.Sprint(protocol)
}

// version of IP, which is how the names of sets end.
func version(addr netip.Addr) string {
	if addr.Is4() {
		return "4"
	}
	return "6"
}

func (p Port) check() error {
	if p.Addr.IsValid() && p.Addr.Is4() != p.To.Addr().Is4() {
		return fmt.Errorf("%s cannot lead to %s: IPv4 and IPv6 are not translated", p.Key(), p.To)
	}
	return checkPort(p.Key(), p.To)
}

func (i Inward) check() error {
	if i.At.Addr().IsValid() && i.At.Addr().Is4() != i.To.Addr().Is4() {
		return fmt.Errorf("%s cannot lead to %s: IPv4 and IPv6 are not translated", i.Key(), i.To)
	}
	if err := checkName(i.Link); err != nil {
		return err
	}
	if i.At.Addr().IsUnspecified() {
		return fmt.Errorf("%s needs an address of the host", i.Key())
	}
	return checkPort(i.Key(), i.To)
}

func checkPort(k Key, to netip.AddrPort) error {
	switch {
	case k.Protocol != unix.IPPROTO_TCP && k.Protocol != unix.IPPROTO_UDP:
		return fmt.Errorf("%s: only TCP and UDP have ports", k)
	case k.At.Port() == 0 || to.Port() == 0:
		return fmt.Errorf("%s to %s: there is no port 0", k, to)
	case !k.At.Addr().IsValid() || !to.Addr().IsValid() || to.Addr().IsUnspecified():
		return fmt.Errorf("%s to %s: an address is missing", k, to)
	case k.At.Addr().Is4In6() || to.Addr().Is4In6():
		return fmt.Errorf("%s to %s: an IPv4 address must not be written as an IPv6 one", k, to)
	}
	return nil
}

// checkName refuses what the kernel could not have as the name of a link.
func checkName(name string) error {
	if name == "" || len(name) >= unix.IFNAMSIZ {
		return fmt.Errorf("%q is no name of a link", name)
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c == '/' || c == '"' || c == 0x7f {
			return fmt.Errorf("%q is no name of a link", name)
		}
	}
	return nil
}

// Errors that whoever is told of them can do something about.
var (
	// ErrNotPermitted: the caller lacks CAP_NET_ADMIN in this network namespace.
	ErrNotPermitted = errors.New("changing nftables needs CAP_NET_ADMIN")
	// ErrNoKernel: the kernel has not all that the rules need.
	ErrNoKernel = errors.New("the kernel lacks a part of nftables (modules nf_tables, nft_chain_nat, nft_fib_inet, nft_masq, nft_ct)")
	// ErrNoBridge: the same for the bridge family.
	ErrNoBridge = errors.New("the kernel lacks nftables for bridges (module nf_tables, CONFIG_NF_TABLES_BRIDGE)")
)
