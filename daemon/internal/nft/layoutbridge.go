package nft

import (
	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// The bridge table is there while there are Members.
var bridgeLayout = layout{
	family: nftables.TableFamilyBridge,
	name:   "bridge",
	sets: []set{
		{name: "members", key: types(ifname)},
		{name: "reflections", key: types(ifname, ifname)},
		{name: "routers", key: types(address6)},
		{name: "macs", key: types(ifname, ether)},
		{name: "sources4", key: types(ifname, address4)},
		{name: "sources6", key: types(ifname, address6)},
	},
	chains: []chain{
		{name: "from_arp", rules: arpRules()},
		{name: "from_ip", rules: ip4Rules()},
		{name: "from_ip6", rules: ip6Rules()},
		{name: "from_member", kind: "filter", hook: "prerouting", number: unix.NF_INET_PRE_ROUTING, priority: priorityRaw, rules: memberRules()},
		{name: "to_member", kind: "filter", hook: "forward", number: unix.NF_INET_FORWARD, priority: priorityFilter, rules: reflectionRules()},
	},
}

// memberRules let in from members what is theirs. Anything that is neither ARP
// nor IP is refused, tags of VLANs included: it could be either, in disguise.
func memberRules() [][]term {
	return [][]term{
		{notIn("members", iifname), accept},
		{notIn("macs", iifname, etherSource), count, drop},
		{is(etherTypeOf, "arp", etherType(isARP)...), jump("from_arp")},
		{is(etherTypeOf, "ip", etherType(isIPv4)...), jump("from_ip")},
		{is(etherTypeOf, "ip6", etherType(isIPv6)...), jump("from_ip6")},
		{count, drop},
	}
}

// reflectionRules let a member that is in hairpin mode, to get at its own ports
// where br_netfilter is, not get back what it says to all.
func reflectionRules() [][]term {
	return [][]term{
		{in("reflections", iifname, oifname), is(packetType, "broadcast", unix.PACKET_BROADCAST), drop},
		{in("reflections", iifname, oifname), is(packetType, "multicast", unix.PACKET_MULTICAST), drop},
	}
}

// arpRules: a member tells only of itself; one without an address may ask
// whether somebody has it.
func arpRules() [][]term {
	ethernet, short := is(arpHardware, "1", 0, 1), is(arpLength, "6", 6)
	return [][]term{
		{ethernet, short, in("macs", iifname, arpEther), in("sources4", iifname, arpSource), accept},
		{ethernet, short, is(arpOperation, "request", 0, 1), in("macs", iifname, arpEther), within(arpSource, "0.0.0.0/32"), accept},
	}
}

// ip4Rules: no member hands out addresses.
func ip4Rules() [][]term {
	return [][]term{
		{known("meta protocol ip", isIPv4), is(udpSourcePort, "67", 0, 67), drop},
		{in("sources4", iifname, ip4Source), accept},
		{within(ip4Source, "0.0.0.0/32"), wantsAddress(), accept},
	}
}

// ip6Rules: nor is one a router, or speaks for one.
func ip6Rules() [][]term {
	const routerAdvertisement, neighbourSolicitation, neighbourAdvertisement, redirect = 134, 135, 136, 137
	tells := is(icmp6Type, "nd-neighbor-advert", neighbourAdvertisement)
	asks := is(icmp6Type, "nd-neighbor-solicit", neighbourSolicitation)
	nobody := within(ip6Source, "::/128")
	return [][]term{
		{in("routers", ip6Source), drop},
		{is(icmp6Type, "nd-router-advert", routerAdvertisement), drop},
		{is(icmp6Type, "nd-redirect", redirect), drop},
		{known("meta protocol ip6", isIPv6), is(udpSourcePort, "547", 547>>8, 547&0xff), drop},
		{tells, in("routers", icmp6Target), drop},
		{tells, outside(icmp6Target, "fe80::/10"), notIn("sources6", iifname, icmp6Target), drop},
		// Asking for an address without having one says that one wants to have it.
		{nobody, asks, in("routers", icmp6Target), drop},
		{nobody, asks, outside(icmp6Target, "fe80::/10"), notIn("sources6", iifname, icmp6Target), drop},
		{in("sources6", iifname, ip6Source), accept},
		{within(ip6Source, "fe80::/10"), accept},
		{nobody, known("meta l4proto ipv6-icmp", isICMPv6), accept},
	}
}
