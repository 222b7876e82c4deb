package doctor

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// A place is a rule of a chain, or its policy, as somebody would look for it.
type place struct {
	family       nftables.TableFamily
	table, chain string
	handle       uint64 // of the rule; 0 is the policy
	rule         *nftables.Rule
}

func (r *ruleset) place(e *event) place {
	p := place{family: nftables.TableFamily(e.family), table: e.table, chain: e.chain, handle: e.handle}
	if e.kind == tracePolicy {
		p.handle = 0
	}
	for chain, rules := range r.rules {
		if chain.Table.Family != p.family || chain.Table.Name != p.table || chain.Name != p.chain {
			continue
		}
		for _, rule := range rules {
			if rule.Handle == p.handle && p.handle != 0 {
				p.rule = rule
			}
		}
	}
	return p
}

// String names the rule as nft does.
func (p place) String() string {
	at := fmt.Sprintf("%s %s %s", familyName(p.family), p.table, p.chain)
	switch {
	case p.handle == 0:
		return at + " (policy drop)"
	case p.rule == nil:
		return fmt.Sprintf("%s (rule with handle %d)", at, p.handle)
	}
	return fmt.Sprintf("%s: %s (handle %d)", at, ruleText(p.rule), p.handle)
}

// look is the command that shows it.
func (p place) look() string {
	return fmt.Sprintf("nft -a list chain %s %s %s", familyName(p.family), p.table, p.chain)
}

func familyName(f nftables.TableFamily) string {
	switch f {
	case nftables.TableFamilyIPv4:
		return "ip"
	case nftables.TableFamilyIPv6:
		return "ip6"
	case nftables.TableFamilyINet:
		return "inet"
	case nftables.TableFamilyBridge:
		return "bridge"
	case nftables.TableFamilyNetdev:
		return "netdev"
	case nftables.TableFamilyARP:
		return "arp"
	}
	return "?"
}

// ruleText is about what nft would write: what is compared and what is done. A
// part that is not known is shown as dots.
func ruleText(rule *nftables.Rule) string {
	var words []string
	left := "…" // what is in the register
	for _, e := range rule.Exprs {
		switch e := e.(type) {
		case *expr.Meta:
			left = metaName(e.Key)
		case *expr.Payload:
			left = payloadName(e)
		case *expr.Ct:
			left = "ct …"
		case *expr.Bitwise, *expr.Immediate:
		case *expr.Cmp:
			words = append(words, left+comparison(e.Op)+valueText(left, e.Data))
		case *expr.Lookup:
			words = append(words, left+" @"+e.SetName)
		case *expr.Counter:
			words = append(words, "counter")
		case *expr.Match:
			words = append(words, "-m "+e.Name)
		case *expr.Target:
			words = append(words, "-j "+e.Name)
		case *expr.Reject:
			words = append(words, "reject")
		case *expr.Verdict:
			words = append(words, verdictName(e))
		default:
			words = append(words, "…")
		}
	}
	if comment, ok := userdata.GetString(rule.UserData, userdata.TypeComment); ok {
		words = append(words, fmt.Sprintf("comment %q", comment))
	}
	return strings.Join(words, " ")
}

func metaName(key expr.MetaKey) string {
	switch key {
	case expr.MetaKeyIIFNAME:
		return "iifname"
	case expr.MetaKeyOIFNAME:
		return "oifname"
	case expr.MetaKeyIIF:
		return "iif"
	case expr.MetaKeyOIF:
		return "oif"
	case expr.MetaKeyL4PROTO:
		return "meta l4proto"
	case expr.MetaKeyNFPROTO:
		return "meta nfproto"
	case expr.MetaKeyMARK:
		return "meta mark"
	}
	return "meta …"
}

func payloadName(e *expr.Payload) string {
	switch {
	case e.Base == expr.PayloadBaseTransportHeader && e.Len == 2 && e.Offset == 2:
		return "dport"
	case e.Base == expr.PayloadBaseTransportHeader && e.Len == 2 && e.Offset == 0:
		return "sport"
	case e.Base != expr.PayloadBaseNetworkHeader:
		return "…"
	case e.Offset == 12 && e.Len <= 4, e.Offset == 8 && e.Len == 16:
		return "saddr"
	case e.Offset == 16 && e.Len <= 4, e.Offset == 24 && e.Len == 16:
		return "daddr"
	}
	return "…"
}

func comparison(op expr.CmpOp) string {
	switch op {
	case expr.CmpOpNeq:
		return " != "
	case expr.CmpOpEq:
		return " "
	}
	return " … "
}

func valueText(of string, data []byte) string {
	switch of {
	case "iifname", "oifname":
		if name := zeroEnded(data); len(name) == len(data) {
			return fmt.Sprintf("%q", name+"*")
		} else {
			return fmt.Sprintf("%q", name)
		}
	case "saddr", "daddr":
		if addr, ok := netip.AddrFromSlice(data); ok {
			return addr.String()
		}
	case "dport", "sport":
		return fmt.Sprint(int(data[0])<<8 | int(data[1]))
	case "meta l4proto":
		switch data[0] {
		case unix.IPPROTO_TCP:
			return "tcp"
		case unix.IPPROTO_UDP:
			return "udp"
		case unix.IPPROTO_ICMP:
			return "icmp"
		case unix.IPPROTO_ICMPV6:
			return "icmpv6"
		}
	case "meta nfproto":
		return map[byte]string{unix.NFPROTO_IPV4: "ipv4", unix.NFPROTO_IPV6: "ipv6"}[data[0]]
	}
	return fmt.Sprintf("%x", data)
}

func verdictName(v *expr.Verdict) string {
	switch v.Kind {
	case expr.VerdictDrop:
		return "drop"
	case expr.VerdictAccept:
		return "accept"
	case expr.VerdictReturn:
		return "return"
	case expr.VerdictJump:
		return "jump " + v.Chain
	case expr.VerdictGoto:
		return "goto " + v.Chain
	}
	return "…"
}
