package link

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// keepRouters sees to it that no link loses the default route that a router has
// told it of. As soon as any link begins to forward, the kernel deletes those of
// all links but where accept_ra is 2. Links of ours have no such routers: a
// machine must not become the host's.
//
// Routes that a program of the host's has made from what a router says are not
// the kernel's to delete; the kernel has accept_ra at 0 there.
func (f *Forwarder) keepRouters(done *[]Sysctl) error {
	links, err := f.routed()
	if err != nil {
		return err
	}
	var wanted []Sysctl
	for _, link := range links {
		path := conf6(link, "accept_ra")
		if value, err := f.host.sysctl(path); err == nil && value == "1" {
			wanted = append(wanted, Sysctl{Path: path, New: "2"})
		}
	}
	return f.change(wanted, done)
}

// routed returns the links of others that have a default route from a router.
func (f *Forwarder) routed() ([]string, error) {
	routes, err := f.host.routes(unix.AF_INET6, unix.RTPROT_RA)
	if err != nil {
		return nil, err
	}
	var names []string
	seen := map[int]bool{}
	for _, r := range routes {
		if r.Protocol != unix.RTPROT_RA || r.Dst.Bits() != 0 || seen[r.Link] {
			continue
		}
		seen[r.Link] = true
		l, err := f.host.bareLink(r.Link)
		if err == nil && !f.ours(l.Name) {
			names = append(names, l.Name)
		}
	}
	return names, nil
}

// passAll6 has the host pass IPv6 on between all its links, without any of them
// taking itself for a router's: then it would believe no router any more.
func (f *Forwarder) passAll6(done *[]Sysctl) error {
	all := Sysctl{Path: conf6("all", "forwarding"), Old: "0", New: "1"}
	names, err := f.namesOf6()
	if err != nil {
		return err
	}
	// The kernel changes these along. They are on the record only until they
	// are back, in case we do not get that far.
	along := []Sysctl{all}
	for _, name := range names {
		path := conf6(name, "forwarding")
		if value, err := f.host.sysctl(path); err == nil && value == "0" {
			along = append(along, Sysctl{Path: path, Old: "0", New: "1"})
		}
	}
	before := len(*done)
	*done = append(*done, along...)
	if err := f.write(along); err != nil {
		return err
	}
	if err := f.setAll6("1"); err != nil {
		return err
	}
	left := without(f.changed, isAmong(along[1:]))
	if err := f.record.write(left); err != nil {
		return err
	}
	f.changed, *done = left, (*done)[:before+1]
	return nil
}

// setAll6 sets whether the host passes IPv6 on, and nothing else: the kernel
// sets that of every link along.
func (f *Forwarder) setAll6(value string) error {
	names, err := f.namesOf6()
	if err != nil {
		return err
	}
	before := map[string]string{}
	for _, name := range names {
		if v, err := f.host.sysctl(conf6(name, "forwarding")); err == nil {
			before[name] = v
		}
	}
	if err := f.set(conf6("all", "forwarding"), value); err != nil {
		return err
	}
	for name, v := range before {
		path := conf6(name, "forwarding")
		now, err := f.host.sysctl(path)
		if err != nil || now == v {
			continue // nothing to do, or the link has gone
		}
		if err := f.set(path, v); err != nil && f.host.WithoutIPv6(name) == "" {
			return fmt.Errorf("cannot leave %s at %s: %w", dotted(path), v, err)
		}
	}
	return nil
}

// namesOf6 returns the links that have switches of IPv6 of their own, and
// "default", which is what new links get.
func (f *Forwarder) namesOf6() ([]string, error) {
	links, err := f.host.Links()
	if err != nil {
		return nil, err
	}
	names := []string{"default"}
	for _, l := range links {
		names = append(names, l.Name)
	}
	return names, nil
}

// others returns the links that are neither ours nor lo.
func (f *Forwarder) others() ([]string, error) {
	links, err := f.host.Links()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, l := range links {
		if l.Name != loopback && !f.ours(l.Name) {
			names = append(names, l.Name)
		}
	}
	return names, nil
}
