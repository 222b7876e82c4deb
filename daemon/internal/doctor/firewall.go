package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/pkg/machd"
)

// A firewall is what somebody else's rules belong to.
type firewall struct {
	name string
	// forward and input are the commands by which it lets a link's packets
	// through to others and to a port of the host, "" if there are none. %[1]s
	// is the link, %[2]s the port and %[3]s its protocol.
	forward, input string
}

// unknownFirewall's rules are changed as they are.
const unknownFirewall = "nftables"

// has reports whether a chain whose name begins so is in a table of that name.
func (r *ruleset) has(family nftables.TableFamily, table, begins string) bool {
	return slices.ContainsFunc(r.chains, func(c *nftables.Chain) bool {
		return c.Table.Family == family && c.Table.Name == table && strings.HasPrefix(c.Name, begins)
	})
}

// asksDocker reports whether what is forwarded goes through the chain that docker
// leaves to others. It may be there and not be used any more.
func (r *ruleset) asksDocker(family nftables.TableFamily) bool {
	const door = "DOCKER-USER"
	for _, c := range r.chains {
		if c.Table.Family != family || c.Table.Name != "filter" || c.Name != "FORWARD" {
			continue
		}
		for _, rule := range r.rules[c] {
			for _, e := range rule.Exprs {
				if v, ok := e.(*expr.Verdict); ok && v.Chain == door {
					return true
				}
			}
		}
		return len(r.rules[c]) == 0 && r.unread[c] && r.has(family, "filter", door)
	}
	return false
}

// owner tells whose a chain is, by the names that are known of each.
func (r *ruleset) owner(family nftables.TableFamily, table, chain string) firewall {
	tool := map[nftables.TableFamily]string{nftables.TableFamilyIPv4: "iptables", nftables.TableFamilyIPv6: "ip6tables"}[family]
	filter := table == "filter" && tool != ""
	switch {
	case table == "machd":
		return firewall{name: "machd"}
	case table == "firewalld":
		const add = "firewall-cmd --permanent --zone=trusted --add-interface=%[1]s && firewall-cmd --reload"
		return firewall{"firewalld", add, add}
	case filter && (chain == "FORWARD" || strings.HasPrefix(chain, "DOCKER")) && r.asksDocker(family):
		return firewall{"docker", tool + " -I DOCKER-USER -i %[1]s -j ACCEPT && " + tool + " -I DOCKER-USER -o %[1]s -j ACCEPT", ""}
	case filter && r.has(family, table, "ufw"):
		return firewall{"ufw", "ufw route allow in on %[1]s && ufw route allow out on %[1]s", "ufw allow in on %[1]s to any port %[2]s"}
	case strings.HasPrefix(table, "libvirt") || strings.HasPrefix(chain, "LIBVIRT_"):
		return firewall{name: "libvirt"}
	case filter:
		return firewall{
			"iptables",
			tool + " -I FORWARD -i %[1]s -j ACCEPT && " + tool + " -I FORWARD -o %[1]s -j ACCEPT",
			tool + " -I INPUT -i %[1]s -p %[3]s --dport %[2]s -j ACCEPT",
		}
	}
	at := fmt.Sprintf("%s %s %s", familyName(family), table, chain)
	return firewall{
		unknownFirewall,
		"nft insert rule " + at + " iifname %[1]s accept && nft insert rule " + at + " oifname %[1]s accept",
		"nft insert rule " + at + " iifname %[1]s %[3]s dport %[2]s accept",
	}
}

// opens returns the command that opens the firewall for a link: what is
// forwarded, or a port of the host as "53/udp".
func (f firewall) opens(link, port string) string {
	format := f.forward
	if port != "" {
		format = f.input
	}
	number, protocol, _ := strings.Cut(port, "/")
	return strings.NewReplacer("%[1]s", link, "%[2]s", number, "%[3]s", protocol).Replace(format)
}

// checkFirewall looks for chains that drop what nothing accepts. Whether they
// drop what a machine sends is found out by its own checks; where there is no
// machine to ask, it is told that they might.
func checkFirewall(_ context.Context, v *visit) (found []finding, applies bool) {
	r, err := v.rules()
	if err != nil {
		return unknown("the rules of nftables", err), true
	}
	probed := slices.ContainsFunc(v.machines, func(m machine.Machine) bool { return v.attachments[m.Name].Managed })
	for _, chain := range r.chains {
		if !r.closed(chain) {
			continue
		}
		f := r.owner(chain.Table.Family, chain.Table.Name, chain.Name)
		what := fmt.Sprintf("%s drops what it does not know: %s %s %s (policy drop)",
			f.name, familyName(chain.Table.Family), chain.Table.Name, chain.Name)
		finding := doubt(what, "A machine's packets may be among that. What one table accepts another one can still drop.", f.opens("ve-NAME", ""))
		if probed {
			finding.Level = machd.LevelOK
			finding.Why = "Whether it drops packets of machines is tried for each of them."
		}
		found = append(found, finding)
	}
	return found, true
}

// closed reports whether a chain drops what is to be forwarded, unless a rule
// accepts it.
func (r *ruleset) closed(c *nftables.Chain) bool {
	return c.Hooknum != nil && *c.Hooknum == *nftables.ChainHookForward && c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop
}
