package doctor

import (
	"fmt"
	"strings"

	"github.com/machd/machd/pkg/machd"
)

// An ending is why a packet did not come where it was to.
type ending struct {
	why     string
	command string
	ours    bool // something that we make is lacking
}

const takenByHost = "No rule sends it to the machine: the host itself takes it."

// explain returns how the journey of a packet that came in by the link called in,
// or was sent by the host if that is "", failed to leave by the machine's link
// or by another; ok says that it did not fail. port is what was asked for of the
// host, as "53/udp", if it was to be delivered.
func (p *patient) explain(j *journey, f flow, in, port string) (e ending, failed bool) {
	switch {
	case j.culprit != nil:
		return p.blame(j.culprit, in, port), true
	case port != "" && j.delivered(), port == "" && j.left():
		return ending{}, false
	case len(j.stages) == 0:
		return ending{why: "The packet never came to the host's rules. A filter of the bridge or in the machine holds it back."}, true
	case j.delivered():
		return ending{why: takenByHost, command: "nft list table inet machd", ours: true}, true
	case j.at(stagePassed), j.at(stageForward):
		return ending{why: "Something that nftables does not show drops it while it is forwarded, such as rules of iptables-legacy or a program of eBPF.",
			command: "iptables-legacy-save; ip6tables-legacy-save"}, true
	case j.at(stageOut):
		return p.lostLocally(f), true
	case !j.at(stageRouting):
		return ending{why: "Something that nftables does not show drops it before it is routed, such as rules of iptables-legacy or a program of eBPF.",
			command: "iptables-legacy-save; tc filter show dev " + in + " ingress"}, true
	case j.left():
		return ending{why: "It leaves the host instead.", ours: true}, true
	}
	return p.lostByRouting(f, in), true
}

// blame names the rule that dropped a packet.
func (p *patient) blame(e *event, in, port string) ending {
	r, err := p.rules()
	if err != nil {
		r = &ruleset{}
	}
	at := r.place(e)
	owner := r.owner(at.family, at.table, at.chain)
	end := ending{why: fmt.Sprintf("It is dropped by %s", at)}
	if owner.name == "machd" {
		end.why += ", which is machd's own: the packet is not one that may pass there."
		end.command = at.look()
		return end
	}
	end.why += fmt.Sprintf(", of %s. What machd's table accepts, another may still drop.", owner.name)
	link := p.net.Link
	if port != "" {
		link = in
	}
	end.command = owner.opens(link, port)
	if end.command == "" {
		end.command = at.look()
	}
	return end
}

// lostLocally is about a packet of the host itself that got no way to leave by.
func (p *patient) lostLocally(f flow) ending {
	name := "net/ipv4/conf/" + p.net.Link + "/route_localnet"
	value, _ := p.cfg.Host.sysctl(p.cfg.Paths.Sysctl, strings.TrimPrefix(name, "net/"))
	if p.net.Kind != machd.LinkBridge && f.to.Addr().Is4() && f.to.Addr().IsLoopback() && value != "1" {
		return ending{why: fmt.Sprintf("The kernel lets nothing of 127.0.0.1 out by %s (route_localnet).", p.net.Link),
			command: "sysctl -w " + name + "=1", ours: true}
	}
	return ending{why: "The kernel finds no way for it to the machine.", command: "ip route get " + f.to.Addr().String()}
}

// lostByRouting is about a packet that came in and was neither delivered nor
// forwarded.
func (p *patient) lostByRouting(f flow, in string) ending {
	if off := p.forwardsNot(f.to.Addr().Is4(), []string{in}); len(off) > 0 {
		return ending{why: fmt.Sprintf("The kernel forwards no %s that comes in by %s.", family(f.to.Addr().Is4()), in),
			command: "sysctl -w " + strings.Join(switches(f.to.Addr().Is4(), off), " "), ours: true}
	}
	if f.to.Addr().Is4() && p.strict(in) {
		return ending{why: fmt.Sprintf("The kernel drops what comes in by %s if an answer to %s would leave by another link (rp_filter).", in, f.from.Addr()),
			command: "sysctl -w net/ipv4/conf/" + in + "/rp_filter=2"}
	}
	return ending{why: "The kernel has no route for it.", command: fmt.Sprintf("ip route get %s from %s iif %s", f.to.Addr(), f.from.Addr(), in)}
}
