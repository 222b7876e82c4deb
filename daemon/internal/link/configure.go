package link

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A Config is what a link is to have. What is left zero stays as it is.
type Config struct {
	Link   string // name; or
	Index  int    // which is taken if it is not 0
	MAC    net.HardwareAddr
	MTU    int
	Addrs  []netip.Prefix // used at once, without asking whether another has them
	Up     bool
	Routes []Route // through this link; their field Link does not matter
	NoRA   bool    // what routers say on the link is not believed
	NoDAD  bool    // nobody else can be on the link: its own address is used at once, too
}

// Configure sees to it that a link has what c says, and returns how to take back
// what that took: what was there already stays, be it from an earlier call or of
// somebody else. If it fails it has changed nothing.
//
// Where a link is without IPv6 (see WithoutIPv6), what is about IPv6 is left
// out. NoRA and NoDAD are left out where the switches of a namespace cannot be
// changed, as with a read-only /proc/sys.
func (s *Space) Configure(c Config) (undo func() error, err error) {
	l, err := s.configured(c)
	if err != nil {
		return nil, fmt.Errorf("cannot find the link %s to configure: %w", cmp.Or(c.Link, strconv.Itoa(c.Index)), err)
	}
	done := &doneSteps{}
	if err := s.inside(func() error { return s.configure(l, c, done) }); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot configure link %s: %w", l.Name, err), done.undo())
	}
	return done.undo, nil
}

func (s *Space) configured(c Config) (Link, error) {
	if c.Index != 0 {
		return s.bareLink(c.Index)
	}
	return s.bareLink(0, byName(c.Link))
}

// configure is Configure on a thread that is in the namespace.
func (s *Space) configure(l Link, c Config, done *doneSteps) error {
	if err := s.dress(l, c, done); err != nil {
		return err
	}
	has6 := withoutIPv6(l.Name) == "" // which a small MTU takes away
	if has6 {
		s.switchOff(l, c, done)
	}
	for _, prefix := range c.Addrs {
		if prefix.Addr().Is6() && !has6 {
			continue
		}
		if err := s.addAddress(l.Index, prefix, done); err != nil {
			return err
		}
	}
	if c.Up && !l.Up {
		if err := s.setLink(l.Index, unix.IFF_UP); err != nil {
			return fmt.Errorf("cannot switch it on: %w", err)
		}
		done.add(func() error { return s.setLink(l.Index, 0) })
	}
	for _, r := range c.Routes {
		if r.Dst.Addr().Is6() && !has6 {
			continue
		}
		r.Link = l.Index
		if err := s.addRoute(r, done); err != nil {
			return err
		}
	}
	return nil
}

// switchOff sets the switches that have to be set before the link is up. None of
// them is worth a failure.
func (s *Space) switchOff(l Link, c Config, done *doneSteps) {
	for file, wanted := range map[string]bool{"accept_ra": c.NoRA, "accept_dad": c.NoDAD} {
		path := conf6(l.Name, file)
		if !wanted {
			continue
		}
		old, err := readSwitch(path)
		if err != nil || old == "0" || writeSwitch(path, "0") != nil {
			continue
		}
		done.add(func() error { return s.setSysctl(path, old) })
	}
}

// dress gives the link its MAC and its MTU.
func (s *Space) dress(l Link, c Config, done *doneSteps) error {
	if c.MAC != nil && !slices.Equal(c.MAC, l.MAC) {
		if err := s.setLinkTo(l.Index, unix.IFLA_ADDRESS, c.MAC); err != nil {
			return fmt.Errorf("cannot give it the address %s: %w", c.MAC, err)
		}
		done.add(func() error { return s.setLinkTo(l.Index, unix.IFLA_ADDRESS, l.MAC) })
	}
	if c.MTU != 0 && c.MTU != l.MTU {
		if err := s.setLinkTo(l.Index, unix.IFLA_MTU, nl.Uint32Attr(uint32(c.MTU))); err != nil {
			return fmt.Errorf("cannot set its MTU to %d: %w", c.MTU, err)
		}
		done.add(func() error { return s.setLinkTo(l.Index, unix.IFLA_MTU, nl.Uint32Attr(uint32(l.MTU))) })
	}
	return nil
}

// setLink switches a link on or off: flags is IFF_UP or 0.
func (s *Space) setLink(index int, flags uint32) error {
	header := linkHeader(index)
	order.PutUint32(header[8:], flags)
	order.PutUint32(header[12:], unix.IFF_UP) // which flag is meant
	return s.change(unix.RTM_NEWLINK, 0, header)
}

// Hairpin lets a port of a bridge have what it sends to itself, or not.
func (s *Space) Hairpin(port string, on bool) error {
	l, err := s.bareLink(0, byName(port))
	if err == nil {
		header := linkHeader(l.Index)
		header[0] = unix.AF_BRIDGE
		info := nl.NewRtAttr(unix.IFLA_PROTINFO|unix.NLA_F_NESTED, nil)
		info.AddRtAttr(nl.IFLA_BRPORT_MODE, []byte{map[bool]byte{true: 1}[on]})
		err = s.change(unix.RTM_SETLINK, 0, header, info)
	}
	if err != nil {
		return fmt.Errorf("cannot have port %s get what it sends to itself: %w", port, err)
	}
	return nil
}

func (s *Space) setLinkTo(index int, attribute int, value []byte) error {
	return s.change(unix.RTM_NEWLINK, 0, linkHeader(index), nl.NewRtAttr(attribute, value))
}

func linkHeader(index int) part {
	header := make(part, unix.SizeofIfInfomsg)
	order.PutUint32(header[4:], uint32(index))
	return header
}

// addAddress gives the link an address, if it has not got it. A guest may have
// it already with a prefix of another length.
func (s *Space) addAddress(index int, prefix netip.Prefix, done *doneSteps) error {
	err := s.changeAddress(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, index, prefix)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot give it the address %s: %w", prefix, err)
	}
	done.add(func() error { return s.changeAddress(unix.RTM_DELADDR, 0, index, prefix) })
	return nil
}

func (s *Space) changeAddress(kind, flags, index int, prefix netip.Prefix) error {
	addr := prefix.Addr()
	header := make(part, unix.SizeofIfAddrmsg)
	header[0], header[1], header[2] = unix.AF_INET, byte(prefix.Bits()), unix.IFA_F_NODAD
	if addr.Is6() {
		header[0] = unix.AF_INET6
	}
	order.PutUint32(header[4:], uint32(index))
	parts := []nl.NetlinkRequestData{header,
		nl.NewRtAttr(unix.IFA_LOCAL, addr.AsSlice()), nl.NewRtAttr(unix.IFA_ADDRESS, addr.AsSlice()),
	}
	if b, ok := broadcast(prefix); ok {
		parts = append(parts, nl.NewRtAttr(unix.IFA_BROADCAST, b.AsSlice()))
	}
	return s.change(kind, flags, parts...)
}

// broadcast returns the address of everybody in an IPv4 network, which one of
// one or two addresses does not have.
func broadcast(prefix netip.Prefix) (netip.Addr, bool) {
	if !prefix.Addr().Is4() || prefix.Bits() > 30 {
		return netip.Addr{}, false
	}
	b := prefix.Addr().As4()
	for i := prefix.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b), true
}

// addRoute makes r, unless there is a route to the same: r from an earlier call,
// or that of somebody who knows another way, such as a guest that has asked a
// router.
func (s *Space) addRoute(r Route, done *doneSteps) error {
	err := s.changeRoute(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, r)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot make the route to %s: %w", r.Dst, err)
	}
	done.add(func() error { return s.changeRoute(unix.RTM_DELROUTE, 0, r) })
	return nil
}

// loopbackMetric is behind every route of the kernel's own, so what the host
// sends to itself goes over lo as before.
const loopbackMetric = 1024

// Loopback6 lets answers to ::1 come in by a link of the host's: the kernel
// looks up who ::1 is for that link only. The route goes with the link.
func (s *Space) Loopback6(index int) error {
	r := Route{
		Dst: netip.PrefixFrom(netip.IPv6Loopback(), 128), Link: index, Metric: loopbackMetric,
		Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL,
	}
	// There is one for each link, so one more is not to replace the others.
	err := s.changeRoute(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, r)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot let link %d have answers to ::1: %w", index, err)
	}
	return nil
}

// doneSteps are changes that were made, each by how it is taken back.
type doneSteps struct{ takeBack []func() error }

func (d *doneSteps) add(takeBack func() error) { d.takeBack = append(d.takeBack, takeBack) }

// undo takes back all steps, the last one first. What has gone meanwhile needs
// none of it.
func (d *doneSteps) undo() error {
	var failed []error
	for _, takeBack := range slices.Backward(d.takeBack) {
		if err := takeBack(); !isOneOf(err, unix.ENODEV, unix.ESRCH, unix.EADDRNOTAVAIL, unix.ENOENT) {
			failed = append(failed, err)
		}
	}
	d.takeBack = nil
	return errors.Join(failed...)
}

func isOneOf(err error, errnos ...unix.Errno) bool {
	return slices.ContainsFunc(errnos, func(errno unix.Errno) bool { return errors.Is(err, errno) })
}
