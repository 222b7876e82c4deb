package nft

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A layout is all of a table but its elements. It is the same on every host.
type layout struct {
	family nftables.TableFamily
	name   string // of the family, for nft
	sets   []set
	chains []chain
}

// A set, or a map if it has data.
type set struct {
	name     string
	key      []nftables.SetDatatype
	data     []nftables.SetDatatype
	interval bool // elements are networks
	counter  bool // elements count what is looked up
}

// A chain is hooked in, or jumped to if it has no hook.
type chain struct {
	name     string
	kind     string
	hook     string
	number   uint32 // of the hook
	priority int32
	rules    [][]term
}

// tableName of both tables.
const tableName = "machd"

// Priorities, by the names that nft has for them.
const (
	priorityRaw    = -300
	priorityNATDst = -100
	priorityFilter = 0
	priorityNATSrc = 100
	// Right behind dstnat, where it is known what is translated.
	priorityTraffic = priorityNATDst + 10
)

var (
	address4 = nftables.TypeIPAddr
	address6 = nftables.TypeIP6Addr
	ifname   = nftables.TypeIFName
	protocol = nftables.TypeInetProto
	service  = nftables.TypeInetService
	ether    = nftables.TypeEtherAddr
)

func types(t ...nftables.SetDatatype) []nftables.SetDatatype { return t }

var inetLayout = layout{
	family: nftables.TableFamilyINet,
	name:   "inet",
	sets: []set{
		{name: "links", key: types(ifname)},
		{name: "uplinks4", key: types(ifname)},
		{name: "uplinks6", key: types(ifname)},
		{name: "sources4", key: types(ifname, address4)},
		{name: "sources6", key: types(ifname, address6)},
		// Networks are apart: a change of these takes the longer, the more there are.
		{name: "networks4", key: types(ifname, address4), interval: true},
		{name: "networks6", key: types(ifname, address6), interval: true},
		{name: "given4", key: types(ifname, address4), interval: true},
		{name: "given6", key: types(ifname, address6), interval: true},
		{name: "inward4", key: types(ifname, address4, protocol, service), data: types(address4, service)},
		{name: "inward6", key: types(ifname, address6, protocol, service), data: types(address6, service)},
		{name: "address_ports4", key: types(address4, protocol, service), data: types(address4, service)},
		{name: "address_ports6", key: types(address6, protocol, service), data: types(address6, service)},
		{name: "ports4", key: types(protocol, service), data: types(address4, service)},
		{name: "ports6", key: types(protocol, service), data: types(address6, service)},
		{name: "inward_traffic4", key: types(ifname, address4, protocol, service), counter: true},
		{name: "inward_traffic6", key: types(ifname, address6, protocol, service), counter: true},
		{name: "address_traffic4", key: types(address4, protocol, service), counter: true},
		{name: "address_traffic6", key: types(address6, protocol, service), counter: true},
		{name: "traffic4", key: types(protocol, service), counter: true},
		{name: "traffic6", key: types(protocol, service), counter: true},
	},
	chains: []chain{
		{name: "traffic", rules: trafficRules()},
		{name: "arrived", rules: countIn(iifname)},
		{name: "begun", rules: countIn(oifname)},
		{name: "guard", kind: "filter", hook: "prerouting", number: unix.NF_INET_PRE_ROUTING, priority: priorityRaw, rules: guardRules()},
		{name: "inbound", kind: "nat", hook: "prerouting", number: unix.NF_INET_PRE_ROUTING, priority: priorityNATDst, rules: inboundRules()},
		{name: "local", kind: "nat", hook: "output", number: unix.NF_INET_LOCAL_OUT, priority: priorityNATDst, rules: localRules()},
		{name: "traffic_in", kind: "filter", hook: "prerouting", number: unix.NF_INET_PRE_ROUTING, priority: priorityTraffic, rules: [][]term{{translated(), jump("arrived")}}},
		{name: "traffic_out", kind: "filter", hook: "output", number: unix.NF_INET_LOCAL_OUT, priority: priorityTraffic, rules: [][]term{{translated(), jump("begun")}}},
		{name: "through", kind: "filter", hook: "forward", number: unix.NF_INET_FORWARD, priority: priorityFilter, rules: throughRules()},
		{name: "source", kind: "nat", hook: "postrouting", number: unix.NF_INET_POST_ROUTING, priority: priorityNATSrc, rules: sourceRules()},
	},
}

// guardRules let in from links only what may come from there. They come before
// connection tracking, while answers to the host's loopback addresses still have
// the address that the link knows.
func guardRules() [][]term {
	return [][]term{
		{notIn("links", iifname), accept},
		// Links have route_localnet, or 127.0.0.1 could not be translated. Without
		// it the kernel would not take these either.
		{within(ip4Destination, "127.0.0.0/8"), count, drop},
		{in("sources4", iifname, ip4Source), accept},
		{in("sources6", iifname, ip6Source), accept},
		{in("networks4", iifname, ip4Source), accept},
		{in("networks6", iifname, ip6Source), accept},
		{in("given4", iifname, ip4Source), answeredByLink(), accept},
		{in("given6", iifname, ip6Source), answeredByLink(), accept},
		{within(ip6Source, "fe80::/10"), accept},
		// Whoever looks for an address has none.
		{within(ip6Source, "::/128"), known("meta l4proto ipv6-icmp", isICMPv6), accept},
		{within(ip4Source, "0.0.0.0/32"), wantsAddress(), accept},
		{count, drop},
	}
}

// inboundRules lead what arrives at the host to where it is published.
func inboundRules() [][]term {
	return append([][]term{
		// Nobody but the host itself has business with its loopback. The kernel
		// would see that later, were the address still there.
		{within(ip4Destination, "127.0.0.0/8"), back},
		{notToUs(), back},
		{leadTo(isIPv4, "inward4", iifname, ip4Destination, l4proto, anyDestinationPort)},
		{leadTo(isIPv6, "inward6", iifname, ip6Destination, l4proto, anyDestinationPort)},
	}, publish()...)
}

func localRules() [][]term { return append([][]term{{notToUs(), back}}, publish()...) }

// publish: what is said of one address comes before what is said of all.
func publish() [][]term {
	return [][]term{
		{leadTo(isIPv4, "address_ports4", ip4Destination, l4proto, anyDestinationPort)},
		{leadTo(isIPv6, "address_ports6", ip6Destination, l4proto, anyDestinationPort)},
		{ipv4, leadTo(isIPv4, "ports4", l4proto, anyDestinationPort)},
		{ipv6, leadTo(isIPv6, "ports6", l4proto, anyDestinationPort)},
	}
}

// countIn counts every packet of what is translated once, as it either arrives or
// begins here. Packets of an inward port come from its link, and the answers go
// there.
func countIn(link field) (rules [][]term) {
	for _, transport := range transports {
		rules = append(rules,
			[]term{ipv4, transport, in("inward_traffic4", link, original4, l4proto, originalPort), accept},
			[]term{ipv6, transport, in("inward_traffic6", link, original6, l4proto, originalPort), accept})
	}
	return append(rules, []term{jump("traffic")})
}

// nft asks for the transport to be named before it writes or reads a port of a
// connection, and for IP before an address.
var (
	transports = []term{known("meta l4proto tcp", isTCP), known("meta l4proto udp", isUDP)}
	ipv4       = known("meta nfproto ipv4", isIPv4)
	ipv6       = known("meta nfproto ipv6", isIPv6)
)

func trafficRules() (rules [][]term) {
	for _, transport := range transports {
		rules = append(rules,
			[]term{ipv4, transport, in("address_traffic4", original4, l4proto, originalPort), accept},
			[]term{ipv6, transport, in("address_traffic6", original6, l4proto, originalPort), accept},
			[]term{ipv4, transport, in("traffic4", l4proto, originalPort), accept},
			[]term{ipv6, transport, in("traffic6", l4proto, originalPort), accept})
	}
	return rules
}

// throughRules say what the host forwards. Other tables may still refuse it.
func throughRules() [][]term {
	const (
		asked = expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED
		odd   = expr.CtStateBitINVALID
	)
	return [][]term{
		{state("established,related", asked), accept},
		// It would leave with its own address, as nothing is translated that
		// belongs to no connection.
		{in("links", iifname), notIn("links", oifname), state("invalid", odd), count, drop},
		{in("links", iifname), accept},
		{translated(), accept},
		{in("links", oifname), count, drop},
		{ipv4, in("uplinks4", iifname), count, drop},
		{ipv6, in("uplinks6", iifname), count, drop},
	}
}

// sourceRules give an address that answers come back to.
func sourceRules() [][]term {
	return [][]term{
		{in("links", oifname), within(ip4Source, "127.0.0.0/8"), masquerade},
		{in("links", oifname), within(ip6Source, "::1/128"), masquerade},
		// There and back by one link: whoever were answered from there directly
		// would take that for a stranger's answer. The link that something came by
		// is not always known here: br_netfilter does not tell.
		{in("sources4", oifname, ip4Source), translated(), masquerade},
		{in("sources6", oifname, ip6Source), translated(), masquerade},
		{in("networks4", oifname, ip4Source), translated(), masquerade},
		{in("networks6", oifname, ip6Source), translated(), masquerade},
		{in("given4", oifname, ip4Source), translated(), masquerade},
		{in("given6", oifname, ip6Source), translated(), masquerade},
		{in("links", iifname), notIn("links", oifname), masquerade},
	}
}

// String returns the layout as nft reads it.
func (l layout) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table %s %s {\n", l.name, tableName)
	for _, s := range l.sets {
		fmt.Fprintf(&b, "\t%s\n", s)
	}
	for _, c := range l.chains {
		fmt.Fprintf(&b, "\tchain %s {\n", c.name)
		if c.hook != "" {
			fmt.Fprintf(&b, "\t\ttype %s hook %s priority %d; policy accept;\n", c.kind, c.hook, c.priority)
		}
		for _, r := range c.rules {
			fmt.Fprintf(&b, "\t\t%s\n", ruleText(r))
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}

func (s set) String() string {
	kind, text := "set", nftables.MustConcatSetType(s.key...).Name
	if s.data != nil {
		kind, text = "map", text+" : "+nftables.MustConcatSetType(s.data...).Name
	}
	text = fmt.Sprintf("%s %s { type %s;", kind, s.name, text)
	if s.interval {
		text += " flags interval;"
	}
	if s.counter {
		text += " counter;"
	}
	return text + " }"
}

func ruleText(rule []term) string {
	var texts []string
	for _, t := range rule {
		texts = append(texts, t.text)
	}
	return strings.Join(texts, " ")
}

// expressions returns what the kernel takes for the rule.
func (l layout) expressions(rule []term) (list []expression) {
	var known []need
	for _, t := range rule {
		for _, n := range t.needs {
			if !slices.Contains(known, n) {
				known = append(known, n)
				list = append(list, n.exprs(l.family)...)
			}
		}
		list = append(list, t.exprs...)
	}
	return list
}
