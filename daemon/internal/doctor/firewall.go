package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/pkg/machd"
)

// A firewall is what somebody else's rules belong to.
type firewall struct {
	name string
	// forward and input are the commands by which it lets a link's packets
	// through to others and to a port of the host, "" if there are none. %[1]s
	// is the link, %[2]s as "53/udp" the port.
	forward, input string
}

// unknownFirewall's rules are changed as they are.
const unknownFirewall = "nftables"

// has reports whether a chain of that name is in a table of that name.
func (r *ruleset) has(table string, begins string) bool {
	return slices.ContainsFunc(r.chains, func(c *nftables.Chain) bool {
		return c.Table.Name == table && strings.HasPrefix(c.Name, begins)
	})
}

// owner tells whose a chain is, by the names that are known of each.
func (r *ruleset) owner(family nftables.TableFamily, table, chain string) firewall {
	tool := map[nftables.TableFamily]string{nftables.TableFamilyIPv4: "iptables", nftables.TableFamilyIPv6: "ip6tables"}[family]
	switch {
	case table == "machd":
		return firewall{name: "machd"}
	case table == "firewalld":
		const add = "firewall-cmd --permanent --zone=trusted --add-interface=%[1]s && firewall-cmd --reload"
		return firewall{"firewalld", add, add}
	case table == "filter" && tool != "" && strings.HasPrefix(chain, "ufw"),
		table == "filter" && tool != "" && r.has("filter", "ufw-") && !(chain == "FORWARD" && r.has("filter", "DOCKER-USER")):
		return firewall{"ufw", "ufw route allow in on %[1]s && ufw route allow out on %[1]s", "ufw allow in on %[1]s to any port %[2]s"}
	case table == "filter" && tool != "" && chain != "INPUT" && r.has("filter", "DOCKER-USER"):
		return firewall{"docker", tool + " -I DOCKER-USER -i %[1]s -j ACCEPT && " + tool + " -I DOCKER-USER -o %[1]s -j ACCEPT", ""}
	case strings.HasPrefix(table, "libvirt") || strings.HasPrefix(chain, "LIBVIRT_"):
		return firewall{name: "libvirt"}
	case table == "filter" && tool != "":
		return firewall{
			"iptables",
			tool + " -I FORWARD -i %[1]s -j ACCEPT && " + tool + " -I FORWARD -o %[1]s -j ACCEPT",
			tool + " -I INPUT -i %[1]s -p %[4]s --dport %[3]s -j ACCEPT",
		}
	}
	at := fmt.Sprintf("%s %s %s", familyName(family), table, chain)
	return firewall{
		unknownFirewall,
		"nft insert rule " + at + " iifname %[1]s accept && nft insert rule " + at + " oifname %[1]s accept",
		"nft insert rule " + at + " iifname %[1]s %[4]s dport %[3]s accept",
	}
}

// opens returns the command that opens the firewall for a link: what is
// forwarded, or a port of the host as "53/udp".
func (f firewall) opens(link, port string) string {
	if port == "" {
		return command(f.forward, link, port, "", "")
	}
	number, protocol, _ := strings.Cut(port, "/")
	return command(f.input, link, port, number, protocol)
}

func command(format, link, port, number, protocol string) string {
	if format == "" {
		return ""
	}
	for i, value := range []string{link, port, number, protocol} {
		format = strings.ReplaceAll(format, fmt.Sprintf("%%[%d]s", i+1), value)
	}
	return format
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
