package doctor

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/google/nftables"

	"github.com/machd/machd/pkg/machd"
)

// crowded is from which part of its connections on conntrack is nearly full.
const crowded = 0.9

// checkConntrack looks whether the kernel can follow more connections. Once it
// cannot, it drops every new one, also of the host itself.
func checkConntrack(_ context.Context, v *visit) (found []finding, applies bool) {
	count, err1 := v.number("netfilter/nf_conntrack_count")
	limit, err2 := v.number("netfilter/nf_conntrack_max")
	if err1 != nil || err2 != nil || limit == 0 {
		return nil, false // no connection is followed
	}
	part := float64(count) / float64(limit)
	if part < crowded {
		return nil, true
	}
	f := doubt(fmt.Sprintf("the kernel follows %d connections and can follow %d", count, limit),
		"Once it is full new connections of the host and of all machines are dropped.",
		fmt.Sprintf("sysctl -w net.netfilter.nf_conntrack_max=%d", 2*limit))
	if count >= limit {
		f.Level = machd.LevelError
		f.Why = "It is full: new connections of the host and of all machines are dropped."
	}
	return []finding{f}, true
}

func (v *visit) number(sysctl string) (int, error) {
	text, err := v.cfg.Host.sysctl(v.cfg.Paths.Sysctl, sysctl)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(text)
}

// checkTable looks whether our table is there, if a machine needs it.
func checkTable(_ context.Context, v *visit) (found []finding, applies bool) {
	if !v.anyManaged() {
		return nil, false
	}
	r, err := v.rules()
	if err == nil && !r.has(nftables.TableFamilyINet, "machd", "") {
		r, err = readRules(v.cfg.Host) // a list may lack something while somebody changes rules
	}
	if err != nil {
		return unknown("the rules of nftables", err), true
	}
	if !r.has(nftables.TableFamilyINet, "machd", "") {
		found = append(found, trouble("the table inet machd is not there",
			"Somebody has removed all rules, as \"nft flush ruleset\" does: machines have no way out, and their ports do not answer.",
			"systemctl restart machd").mendedBy(v.mendNetwork))
	}
	return found, true
}

func (v *visit) anyManaged() bool {
	for _, a := range v.attachments {
		if a.Managed {
			return true
		}
	}
	return false
}

// A holder is somebody who has an address, or a network.
type holder struct {
	name   string // as a sentence has it
	prefix netip.Prefix
}

// checkClash looks for addresses that two have, and for networks of machines that
// are also elsewhere.
func checkClash(_ context.Context, v *visit) (found []finding, applies bool) {
	h, err := v.links()
	if err != nil {
		return unknown("the links of the host", err), true
	}
	machines := v.holders()
	for i, one := range machines {
		for _, other := range machines[:i] {
			if one.prefix.Addr() == other.prefix.Addr() && one.name != other.name {
				found = append(found, trouble(fmt.Sprintf("%s and %s both have the address %s", other.name, one.name, one.prefix.Addr()),
					"Packets for it reach now the one and now the other.", "machctl reboot "+one.name).about(one.name))
			}
		}
		for _, host := range h.foreign(v.ownLinks()) {
			switch {
			case one.prefix.Addr() == host.prefix.Addr():
				found = append(found, trouble(fmt.Sprintf("%s has the address %s, and so has %s of the host", one.name, one.prefix.Addr(), host.name),
					"Whoever asks for it gets the host.", "machctl reboot "+one.name).about(one.name))
			case one.prefix.Overlaps(host.prefix):
				found = append(found, trouble(fmt.Sprintf("the network %s of %s is part of %s on %s", one.prefix.Masked(), one.name, host.prefix.Masked(), host.name),
					"The host reaches only one of the two. Other networks for machines are chosen in /etc/machd/network.conf.", "machctl reboot "+one.name).about(one.name))
			}
		}
	}
	return found, true
}

// holders are the machines' addresses: those they should have, and those that
// their links do have.
func (v *visit) holders() (all []holder) {
	for _, m := range v.machines {
		a, ok := v.attachments[m.Name]
		if !ok || a.Kind == "bridge" {
			continue
		}
		have := slices.Clone(a.Addresses)
		if p, ok := v.patient(m.Name); ok {
			if _, guest, ok := p.bothEnds(); ok {
				g, _ := p.guest()
				for _, x := range g.addrs[guest.Index] {
					if x.Addr().IsGlobalUnicast() && !slices.ContainsFunc(have, func(h netip.Prefix) bool { return h.Addr() == x.Addr() }) {
						have = append(have, x.Prefix)
					}
				}
			}
			p.close()
		}
		for _, x := range have {
			all = append(all, holder{m.Name, x})
		}
	}
	return all
}

// ownLinks are the names of machines' links on the host.
func (v *visit) ownLinks() map[string]bool {
	own := map[string]bool{}
	for _, a := range v.attachments {
		own[a.Link] = true
	}
	return own
}

// foreign are the networks that the host has on links other than the machines'.
func (l *links) foreign(own map[string]bool) (all []holder) {
	for _, link := range l.all {
		name := link.Attrs().Name
		if own[name] || ofMachine(name) {
			continue
		}
		for _, a := range l.addrs[link.Attrs().Index] {
			if !a.Addr().IsLoopback() && !a.Addr().IsLinkLocalUnicast() {
				all = append(all, holder{name, a.Prefix})
			}
		}
	}
	for _, r := range l.routes {
		name := l.nameOf(r.LinkIndex)
		if p, ok := prefixOf(r.Dst); ok && !isDefault(r) && !own[name] && !ofMachine(name) && r.Table == mainTable &&
			p.Addr().IsGlobalUnicast() && !slices.ContainsFunc(all, func(h holder) bool { return h.prefix.Masked() == p.Masked() }) {
			all = append(all, holder{name, p})
		}
	}
	slices.SortFunc(all, func(a, b holder) int { return cmp.Compare(a.name, b.name) })
	return all
}

// mainTable is the routing table that is looked into unless rules say otherwise.
const mainTable = 254
