package network

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// A hostPort is a port of the host. One of a single address and one of all are
// two: the former wins.
type hostPort struct {
	protocol machd.Protocol
	address  netip.Addr
	number   uint16
}

func hostPortOf(p machd.Port) hostPort { return hostPort{p.Protocol, p.Address, p.Host} }

// A claim is whose a port of the host is, and where it leads there.
type claim struct {
	machine string
	guest   uint16
}

// claims tells whose each port of the host is, so that adding one takes as long
// with ten thousand as with ten.
type claims map[hostPort]claim

// add takes note of ports of a machine, but for those that another one has.
func (c claims) add(machine string, ports []machd.Port) {
	for _, p := range ports {
		if by, ok := c[hostPortOf(p)]; !ok || by.machine == machine {
			c[hostPortOf(p)] = claim{machine, p.Guest}
		}
	}
}

func (c claims) remove(machine string, ports []machd.Port) {
	for _, p := range ports {
		if c[hostPortOf(p)] == (claim{machine, p.Guest}) {
			delete(c, hostPortOf(p))
		}
	}
}

// check refuses ports for a machine that lead to another one already, or would
// to two places of it. Where those that it has lead does not matter.
func (c claims) check(machine string, ports []machd.Port) error {
	asked := claims{}
	for _, p := range ports {
		if by, ok := c[hostPortOf(p)]; ok && by.machine != machine {
			return machine1.Errorf(unix.EADDRINUSE, "Port %s is published for machine %s already", p, by.machine)
		}
		if err := asked.contradicts(machine, p); err != nil {
			return err
		}
		asked.add(machine, []machd.Port{p})
	}
	return nil
}

// contradicts refuses a port of a machine that leads to another place of it.
func (c claims) contradicts(machine string, p machd.Port) error {
	if by, ok := c[hostPortOf(p)]; ok && by.machine == machine && by.guest != p.Guest {
		return machine1.Errorf(unix.EADDRINUSE, "Port %s would lead to two ports of machine %s, one of which is %d", p, machine, by.guest)
	}
	return nil
}
