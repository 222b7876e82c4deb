package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A term is a part of a rule: as nft writes it, and as the kernel takes it. A
// rule is made of terms, so that what is shown cannot differ from what is done.
type term struct {
	text  string
	needs []need
	exprs []expression
}

// An expression is one of package expr, or an originalTuple.
type expression any

// An originalTuple is `ct original …`. Package expr has the direction only for
// some of the keys.
type originalTuple struct {
	key      expr.CtKey
	register uint32
}

// A need is what must be known of a packet before a term can look into it. nft
// does not write it, where it follows from the term.
type need int

const (
	isIPv4 need = iota
	isIPv6
	isARP
	isTCP
	isUDP
	isICMPv6
)

func (n need) exprs(family nftables.TableFamily) []expression {
	switch n {
	case isTCP:
		return match(metaLoad(expr.MetaKeyL4PROTO), []byte{unix.IPPROTO_TCP})
	case isUDP:
		return match(metaLoad(expr.MetaKeyL4PROTO), []byte{unix.IPPROTO_UDP})
	case isICMPv6:
		return match(metaLoad(expr.MetaKeyL4PROTO), []byte{unix.IPPROTO_ICMPV6})
	}
	if family == nftables.TableFamilyINet {
		return match(metaLoad(expr.MetaKeyNFPROTO), []byte{map[need]byte{isIPv4: unix.NFPROTO_IPV4, isIPv6: unix.NFPROTO_IPV6}[n]})
	}
	return match(metaLoad(expr.MetaKeyPROTOCOL), etherType(n))
}

func etherType(n need) []byte {
	types := map[need]uint16{isIPv4: unix.ETH_P_IP, isIPv6: unix.ETH_P_IPV6, isARP: unix.ETH_P_ARP}
	return binary.BigEndian.AppendUint16(nil, types[n])
}

// A field is something of a packet that can be put into registers.
type field struct {
	text  string
	size  uint32
	needs []need
	load  loader
}

// A loader puts so many bytes of a field into registers. Only what is of the
// packet itself has less than all.
type loader func(register, size uint32) expression

func metaLoad(key expr.MetaKey) loader {
	return func(register, _ uint32) expression { return &expr.Meta{Key: key, Register: register} }
}

func payload(base expr.PayloadBase, offset uint32) loader {
	return func(register, size uint32) expression {
		return &expr.Payload{DestRegister: register, Base: base, Offset: offset, Len: size}
	}
}

// original is what the first packet of a connection had, before anything was
// translated.
func original(key expr.CtKey) loader {
	return func(register, _ uint32) expression { return originalTuple{key, register} }
}

var (
	iifname = field{"iifname", unix.IFNAMSIZ, nil, metaLoad(expr.MetaKeyIIFNAME)}
	oifname = field{"oifname", unix.IFNAMSIZ, nil, metaLoad(expr.MetaKeyOIFNAME)}
	l4proto = field{"meta l4proto", 1, nil, metaLoad(expr.MetaKeyL4PROTO)}

	packetType = field{"meta pkttype", 1, nil, metaLoad(expr.MetaKeyPKTTYPE)}

	ip4Source      = field{"ip saddr", 4, []need{isIPv4}, payload(expr.PayloadBaseNetworkHeader, 12)}
	ip4Destination = field{"ip daddr", 4, []need{isIPv4}, payload(expr.PayloadBaseNetworkHeader, 16)}
	ip6Source      = field{"ip6 saddr", 16, []need{isIPv6}, payload(expr.PayloadBaseNetworkHeader, 8)}
	ip6Destination = field{"ip6 daddr", 16, []need{isIPv6}, payload(expr.PayloadBaseNetworkHeader, 24)}

	anyDestinationPort = field{"th dport", 2, nil, payload(expr.PayloadBaseTransportHeader, 2)}
	udpSourcePort      = field{"udp sport", 2, []need{isUDP}, payload(expr.PayloadBaseTransportHeader, 0)}
	icmp6Type          = field{"icmpv6 type", 1, []need{isIPv6, isICMPv6}, payload(expr.PayloadBaseTransportHeader, 0)}
	icmp6Target        = field{"icmpv6 taddr", 16, []need{isIPv6, isICMPv6}, payload(expr.PayloadBaseTransportHeader, 8)}

	original4    = field{"ct original ip daddr", 4, nil, original(unix.NFT_CT_DST_IP)}
	original6    = field{"ct original ip6 daddr", 16, nil, original(unix.NFT_CT_DST_IP6)}
	originalPort = field{"ct original proto-dst", 2, nil, original(expr.CtKeyPROTODST)}

	etherSource  = field{"ether saddr", 6, nil, payload(expr.PayloadBaseLLHeader, 6)}
	etherTypeOf  = field{"ether type", 2, nil, payload(expr.PayloadBaseLLHeader, 12)}
	arpHardware  = field{"arp htype", 2, []need{isARP}, payload(expr.PayloadBaseNetworkHeader, 0)}
	arpLength    = field{"arp hlen", 1, []need{isARP}, payload(expr.PayloadBaseNetworkHeader, 4)}
	arpOperation = field{"arp operation", 2, []need{isARP}, payload(expr.PayloadBaseNetworkHeader, 6)}
	arpEther     = field{"arp saddr ether", 6, []need{isARP}, payload(expr.PayloadBaseNetworkHeader, 8)}
	arpSource    = field{"arp saddr ip", 4, []need{isARP}, payload(expr.PayloadBaseNetworkHeader, 14)}
)

// register returns the number of the register that begins with that word of four
// bytes. Every fourth one has a name of its own, which is the one that the kernel
// tells.
func register(word uint32) uint32 {
	if word%4 == 0 {
		return unix.NFT_REG_1 + word/4
	}
	return unix.NFT_REG32_00 + word
}

func words(size uint32) uint32 { return (size + 3) / 4 }

// concat puts fields into registers, one after the other.
func concat(fields []field) (t term) {
	var texts []string
	word := uint32(0)
	for _, f := range fields {
		texts = append(texts, f.text)
		t.needs = append(t.needs, f.needs...)
		t.exprs = append(t.exprs, f.load(register(word), f.size))
		word += words(f.size)
	}
	t.text = strings.Join(texts, " . ")
	return t
}

// in matches if the fields are an element of the set.
func in(set string, fields ...field) term {
	t := concat(fields)
	t.text += " @" + set
	t.exprs = append(t.exprs, &expr.Lookup{SourceRegister: unix.NFT_REG_1, SetName: set})
	return t
}

// notIn matches if they are not.
func notIn(set string, fields ...field) term {
	t := concat(fields)
	t.text += " != @" + set
	t.exprs = append(t.exprs, &expr.Lookup{SourceRegister: unix.NFT_REG_1, SetName: set, Invert: true})
	return t
}

func match(load loader, data []byte) []expression {
	return []expression{load(unix.NFT_REG_1, uint32(len(data))), &expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: data}}
}

// is compares a field with a value, which text is for nft.
func is(f field, text string, data ...byte) term {
	return term{f.text + " " + text, f.needs, match(f.load, data)}
}

// wantsAddress matches a request by DHCP. nft looks at both ports at once, too.
func wantsAddress() term {
	ports := payload(expr.PayloadBaseTransportHeader, 0)
	return term{"udp sport 68 udp dport 67", []need{isUDP}, match(ports, []byte{0, 68, 0, 67})}
}

// within matches addresses of a network, outside all others.
func within(f field, prefix string) term  { return inNetwork(f, "", prefix, expr.CmpOpEq) }
func outside(f field, prefix string) term { return inNetwork(f, "!= ", prefix, expr.CmpOpNeq) }

func inNetwork(f field, not, prefix string, op expr.CmpOp) term {
	network := netip.MustParsePrefix(prefix)
	text := f.text + " " + not + prefix
	if network.IsSingleIP() {
		text = f.text + " " + not + network.Addr().String()
	}
	t := term{text: text, needs: f.needs}
	address, whole := network.Addr().AsSlice(), network.Bits()/8
	if network.Bits()%8 == 0 {
		address = address[:whole]
		t.exprs = []expression{f.load(unix.NFT_REG_1, uint32(whole))}
	} else {
		mask := make([]byte, f.size)
		for bit := range network.Bits() {
			mask[bit/8] |= 0x80 >> (bit % 8)
		}
		t.exprs = []expression{f.load(unix.NFT_REG_1, f.size), bitwise(mask)}
	}
	t.exprs = append(t.exprs, &expr.Cmp{Op: op, Register: unix.NFT_REG_1, Data: address})
	return t
}

func bitwise(mask []byte) expression {
	return &expr.Bitwise{
		SourceRegister: unix.NFT_REG_1, DestRegister: unix.NFT_REG_1,
		Len: uint32(len(mask)), Mask: mask, Xor: make([]byte, len(mask)),
	}
}

// What is known of the connection that a packet belongs to.

// state matches one of several states.
func state(text string, bits uint32) term { return ctBits("ct state "+text, expr.CtKeySTATE, bits) }

// translated matches what goes somewhere else than its sender said, here or by
// somebody else's rules.
func translated() term {
	const destinationNAT = 1 << 5 // IPS_DST_NAT of enum ip_conntrack_status
	return ctBits("ct status dnat", expr.CtKeySTATUS, destinationNAT)
}

func ctBits(text string, key expr.CtKey, bits uint32) term {
	mask := binary.NativeEndian.AppendUint32(nil, bits)
	return term{text: text, exprs: []expression{
		&expr.Ct{Key: key, Register: unix.NFT_REG_1},
		bitwise(mask),
		&expr.Cmp{Op: expr.CmpOpNeq, Register: unix.NFT_REG_1, Data: make([]byte, 4)},
	}}
}

// notToUs matches what is not for an address of the host.
func notToUs() term {
	return term{text: "fib daddr type != local", exprs: []expression{
		&expr.Fib{Register: unix.NFT_REG_1, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: unix.NFT_REG_1, Data: binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL)},
	}}
}

// answeredByLink matches what the host would answer by the link that it came by.
// That is never so of an address of the host's.
func answeredByLink() term {
	return term{text: "fib saddr . iif oif != 0", exprs: []expression{
		&expr.Fib{Register: unix.NFT_REG_1, FlagSADDR: true, FlagIIF: true, ResultOIF: true},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: unix.NFT_REG_1, Data: make([]byte, 4)},
	}}
}

// known says aloud what a term of the rule needs.
func known(text string, n need) term { return term{text: text, needs: []need{n}} }

// What becomes of the packet.

func verdict(kind expr.VerdictKind, text string) term {
	return term{text: text, exprs: []expression{&expr.Verdict{Kind: kind}}}
}

var (
	accept = verdict(expr.VerdictAccept, "accept")
	drop   = verdict(expr.VerdictDrop, "drop")
	back   = verdict(expr.VerdictReturn, "return")
	count  = term{text: "counter", exprs: []expression{&expr.Counter{}}}

	masquerade = term{text: "masquerade", exprs: []expression{&expr.Masq{}}}
)

func jump(chain string) term {
	return term{text: "jump " + chain, exprs: []expression{&expr.Verdict{Kind: expr.VerdictJump, Chain: chain}}}
}

// leadTo sends the connection to where the map says for the fields, if it says
// anything.
func leadTo(to need, mapping string, fields ...field) term {
	t := concat(fields)
	family, name, port := uint32(unix.NFPROTO_IPV4), "ip", register(1)
	if to == isIPv6 {
		family, name, port = unix.NFPROTO_IPV6, "ip6", register(4)
	}
	t.text = fmt.Sprintf("dnat %s to %s map @%s", name, t.text, mapping)
	t.needs = append(t.needs, to)
	t.exprs = append(t.exprs,
		&expr.Lookup{SourceRegister: unix.NFT_REG_1, DestRegister: unix.NFT_REG_1, IsDestRegSet: true, SetName: mapping},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: family, RegAddrMin: unix.NFT_REG_1, RegProtoMin: port})
	return t
}
