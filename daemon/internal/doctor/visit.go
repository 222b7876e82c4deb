package doctor

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/machine"
)

// netlinkTimeout ends what cannot happen: the kernel answers in the call.
const netlinkTimeout = time.Second

// A visit is one look at the host. What several checks need is read once.
type visit struct {
	*Doctor
	machines    []machine.Machine
	attachments map[string]Attachment
	starting    map[string]bool

	single bool // one machine alone is looked at

	links    func() (*links, error)
	rules    func() (*ruleset, error)
	tracer   func() (*tracer, error)
	resolves func() bool // a name server of the host answers

	traced  atomic.Pointer[tracer] // what close has to end
	running sync.WaitGroup         // checks
}

func (d *Doctor) newVisit() *visit {
	v := &visit{Doctor: d, machines: d.cfg.Machines(), attachments: map[string]Attachment{}, starting: map[string]bool{}}
	if d.cfg.Network != nil {
		for _, a := range d.cfg.Network.Attachments() {
			v.attachments[a.Machine] = a
		}
		for _, name := range d.cfg.Network.Starting() {
			v.starting[name] = true
		}
	}
	v.links = sync.OnceValues(func() (*links, error) { return readLinks(d.cfg.Host) })
	v.rules = sync.OnceValues(func() (*ruleset, error) { return readRules(d.cfg.Host) })
	v.resolves = sync.OnceValue(d.hostResolves)
	v.tracer = sync.OnceValues(func() (*tracer, error) {
		t, err := newTracer(d.cfg.Host)
		v.traced.Store(t)
		return t, err
	})
	return v
}

// close ends what the visit has made. Checks that are not through yet it leaves
// behind after a moment; the last one ends it.
func (v *visit) close() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		v.running.Wait()
		if t := v.traced.Load(); t != nil {
			t.close()
		}
	}()
	select {
	case <-done:
	case <-time.After(time.Second):
	}
}

// A patient is one machine that is looked at.
type patient struct {
	*visit
	machine.Machine
	net    Attachment
	inside *Space // nil if it shares the host's network, or has no processes that we know of
	err    error  // why inside is not known

	guest  func() (*links, error) // the links of the machine
	checks sync.WaitGroup         // that go on
}

// patient returns the machine called name. The caller closes it.
func (v *visit) patient(name string) (*patient, bool) {
	for _, m := range v.machines {
		if m.Name != name {
			continue
		}
		p := &patient{visit: v, Machine: m, net: v.attachments[name]}
		if m.Leader != nil {
			p.inside, p.err = spaceOf(m.Leader)
		}
		p.guest = sync.OnceValues(func() (*links, error) { return readGuest(m.Leader) })
		return p, true
	}
	return nil, false
}

// close lets go of the machine, once no check needs it any more.
func (p *patient) close() {
	go func() {
		p.checks.Wait()
		p.inside.Close()
	}()
}

// linked reports whether the machine has a link to the host that somebody is to
// see to.
func (p *patient) linked() bool { return p.net.Link != "" && p.inside != nil }

// guestLink is what the link is called in the machine.
func (a Attachment) guestLink() string {
	if a.GuestLink != "" {
		return a.GuestLink
	}
	return "host0"
}

// ends returns both ends of the machine's link, nil for one that is not there.
// The host's is the bridge, if the machine's link is in one.
func (p *patient) ends() (host, guest netlink.Link, err error) {
	h, err := p.links()
	if err != nil {
		return nil, nil, fmt.Errorf("the links of the host cannot be read: %w", err)
	}
	g, err := p.guest()
	if err != nil {
		return nil, nil, fmt.Errorf("the links of the machine cannot be read: %w", err)
	}
	return h.named(p.net.Link), g.named(p.net.guestLink()), nil
}

// bothEnds is ends where both are there.
func (p *patient) bothEnds() (host, guest *netlink.LinkAttrs, ok bool) {
	if !p.linked() {
		return nil, nil, false
	}
	h, g, err := p.ends()
	if err != nil || h == nil || g == nil {
		return nil, nil, false
	}
	return h.Attrs(), g.Attrs(), true
}

// An address of a link.
type address struct {
	netip.Prefix
	duplicate bool // somebody else on the link has it
}

// links are the links of a namespace, with their addresses and routes.
type links struct {
	all    []netlink.Link
	addrs  map[int][]address // by index
	routes []netlink.Route   // of the main table and the local one
}

func readLinks(s *Space) (*links, error) {
	h, err := s.kernel()
	if err != nil {
		return nil, err
	}
	defer h.Close()
	l := &links{addrs: map[int][]address{}}
	if l.all, err = undisturbed(h.LinkList); err != nil {
		return nil, err
	}
	addrs, err := undisturbed(func() ([]netlink.Addr, error) { return h.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if p, ok := prefixOf(a.IPNet); ok {
			l.addrs[a.LinkIndex] = append(l.addrs[a.LinkIndex], address{p, a.Flags&unix.IFA_F_DADFAILED != 0})
		}
	}
	l.routes, err = undisturbed(func() ([]netlink.Route, error) { return h.RouteList(nil, netlink.FAMILY_ALL) })
	return l, err
}

// maxDisturbed is how often a list is read that changes while it is read.
const maxDisturbed = 10

// undisturbed reads a list of the kernel's again if something changed meanwhile.
// Where that never ends, the list is as good as it gets.
func undisturbed[T any](read func() ([]T, error)) ([]T, error) {
	for attempt := 1; ; attempt++ {
		list, err := read()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return list, err
		}
		if attempt == maxDisturbed {
			return list, nil
		}
	}
}

// named returns the link called name, nil if there is none.
func (l *links) named(name string) netlink.Link {
	for _, link := range l.all {
		if link.Attrs().Name == name {
			return link
		}
	}
	return nil
}

// index returns the link of that index, nil if there is none.
func (l *links) index(index int) netlink.Link {
	for _, link := range l.all {
		if link.Attrs().Index == index {
			return link
		}
	}
	return nil
}

// nameOf is for messages.
func (l *links) nameOf(index int) string {
	if link := l.index(index); link != nil {
		return link.Attrs().Name
	}
	return "no link"
}

// hasDefault reports whether there is a route to everywhere through link index,
// or through any if that is 0.
func (l *links) hasDefault(ipv4 bool, index int) (gateway netip.Addr, ok bool) {
	for _, r := range l.routes {
		if !isDefault(r) || (r.Family == netlink.FAMILY_V4) != ipv4 || index != 0 && r.LinkIndex != index {
			continue
		}
		gateway, _ = netip.AddrFromSlice(r.Gw)
		return gateway.Unmap(), true
	}
	return netip.Addr{}, false
}

func isDefault(r netlink.Route) bool {
	if r.Dst == nil {
		return true
	}
	ones, _ := r.Dst.Mask.Size()
	return ones == 0
}

// ofMachine reports whether a link is one between host and machines, by the
// names that systemd-nspawn gives.
func ofMachine(name string) bool {
	return strings.HasPrefix(name, "ve-") || strings.HasPrefix(name, "vb-") || strings.HasPrefix(name, "vz-")
}
