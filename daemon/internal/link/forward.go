package link

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
)

// A Forwarder has the host pass packets on between links of ours and the links
// that lead elsewhere, and changes no more of the host's switches than that
// takes. It is safe for concurrent use.
//
// Each switch is written down before it is changed, so that this or a later
// Forwarder can put it back; one that somebody else has changed since is left
// alone.
type Forwarder struct {
	host   *Space
	ours   func(link string) bool
	guard  func(open4, open6 []string) error
	record record
	force  string // the switch that has one link pass IPv6 on
	set    func(path, value string) error

	mu      sync.Mutex
	changed []Sysctl // what the record says, in order
}

// Forwarding is what Enable has found and done.
type Forwarding struct {
	Changed []Sysctl // now, in order
	No6     string   // why there is no IPv6, "" if there is
}

// NewForwarder returns a Forwarder for the host. It knows from record, a file
// that need not be there, what an earlier one has changed and not put back. The
// function ours says which links it may treat as ours: packets are let into
// them, and routers there are never believed.
//
// The function guard is told which links of others pass IPv4 and IPv6 on for our
// sake alone. It sees to it that what comes in there goes to links of ours only,
// and is called before that is needed, and again when it is no longer. It must
// not call the Forwarder.
func NewForwarder(host *Space, recordPath string, ours func(link string) bool, guard func(open4, open6 []string) error) (*Forwarder, error) {
	f := &Forwarder{host: host, ours: ours, guard: guard, record: record{recordPath}, force: "force_forwarding", set: host.setSysctl}
	var err error
	if f.changed, err = f.record.read(); err != nil {
		return nil, fmt.Errorf("cannot read which switches were changed: %w", err)
	}
	return f, nil
}

// Enable lets packets pass between links, which are ours, and uplinks, and lets
// what comes from 127.0.0.1 be sent to links. Call it again whenever there are
// others; what is as it should be is not touched, and a link that has gone is
// passed over. If it fails it has put back what it had changed.
//
// A guard against packets to 127.0.0.0/8 has to be on links already.
func (f *Forwarder) Enable(links, uplinks []string) (Forwarding, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var done []Sysctl
	err := f.enable4(links, uplinks, &done)
	no6 := f.host.WithoutIPv6("all")
	if err == nil && no6 == "" {
		err = f.enable6(links, uplinks, &done)
	}
	if err != nil {
		return Forwarding{}, errors.Join(fmt.Errorf("cannot switch forwarding on: %w", err), f.putBack(done))
	}
	// For those that an earlier Forwarder has opened, if there was nothing to do.
	if err := f.guardOpen(); err != nil {
		return Forwarding{}, err
	}
	return Forwarding{Changed: done, No6: no6}, nil
}

// enable4 leaves uplinks alone where the host forwards: one that does not then
// was switched off by somebody.
func (f *Forwarder) enable4(links, uplinks []string, done *[]Sysctl) error {
	forwards, err := f.host.sysctl(conf4("all", "forwarding"))
	if err != nil {
		return err
	}
	if forwards != "0" {
		uplinks = nil
	}
	var wanted []Sysctl
	for _, link := range slices.Concat(links, uplinks) {
		wanted = append(wanted, Sysctl{Path: conf4(link, "forwarding"), New: "1"})
	}
	for _, link := range links {
		wanted = append(wanted, Sysctl{Path: conf4(link, "route_localnet"), New: "1"})
	}
	return f.change(wanted, done)
}

// enable6 is in this order: the host must not lose its own route, which the
// kernel deletes when any link begins to forward; and a link of ours must say
// that it is a router, or networkd at its other end gives its route up. Who is
// at that end must not become a router of the host's, whatever he says.
func (f *Forwarder) enable6(links, uplinks []string, done *[]Sysctl) error {
	links, uplinks = f.with6(links), f.with6(uplinks)
	if err := f.keepRouters(done); err != nil {
		return err
	}
	forwards, err := f.host.sysctl(conf6("all", "forwarding"))
	if err != nil {
		return err
	}
	if forwards == "0" {
		if err := f.pass6(slices.Concat(links, uplinks), done); err != nil {
			return err
		}
	}
	var wanted []Sysctl
	for _, link := range links {
		wanted = append(wanted, Sysctl{Path: conf6(link, "accept_ra"), New: "0"},
			Sysctl{Path: conf6(link, "forwarding"), New: "1"})
	}
	return f.change(wanted, done)
}

func (f *Forwarder) with6(links []string) []string {
	return slices.DeleteFunc(slices.Clone(links), func(link string) bool { return f.host.WithoutIPv6(link) != "" })
}

// pass6 has links pass IPv6 on, or, with a kernel that knows no such switch
// (before Linux 6.17), every link.
func (f *Forwarder) pass6(links []string, done *[]Sysctl) error {
	if _, err := f.host.sysctl(conf6("all", f.force)); errors.Is(err, fs.ErrNotExist) {
		return f.passAll6(done)
	}
	var wanted []Sysctl
	for _, link := range links {
		wanted = append(wanted, Sysctl{Path: conf6(link, f.force), New: "1"})
	}
	return f.change(wanted, done)
}

// change makes the switches what they should be, those that are not, after it
// has written down what they were. What it has changed is added to done.
func (f *Forwarder) change(wanted []Sysctl, done *[]Sysctl) error {
	var changes []Sysctl
	for _, c := range wanted {
		var err error
		if c.Old, err = f.host.sysctl(c.Path); f.hasGone(c, err) {
			continue
		}
		if err != nil {
			return explained(c.Path, err)
		}
		if c.Old != c.New {
			changes = append(changes, c)
		}
	}
	if len(changes) == 0 {
		return nil
	}
	*done = append(*done, changes...)
	if err := f.write(changes); err != nil {
		return err
	}
	for _, c := range changes {
		if err := f.set(c.Path, c.New); err != nil && !f.hasGone(c, err) {
			return explained(c.Path, err)
		}
	}
	return nil
}

// hasGone reports whether a switch is not there because its link is not: many
// come and go while we are at it.
func (f *Forwarder) hasGone(c Sysctl, err error) bool {
	if !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	_, err = f.host.bareLink(0, byName(c.link()))
	return errors.Is(err, ErrNoLink)
}

// write adds changes to the record, and has what they open guarded. One of a
// switch that is on the record already is of a new link of that name, or somebody
// has changed it back.
func (f *Forwarder) write(changes []Sysctl) error {
	all := append(without(f.changed, isAmong(changes)), changes...)
	if err := f.record.write(all); err != nil {
		return fmt.Errorf("cannot write down what is changed: %w", err)
	}
	f.changed = all
	return f.guardOpen()
}

func explained(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the kernel has no switch %s: %w", dotted(path), err)
	}
	return err // has the path
}

// Release puts back what was changed of links, for those that are still there,
// and forgets them.
func (f *Forwarder) Release(links ...string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var of []Sysctl
	for _, c := range f.changed {
		if slices.Contains(links, c.link()) {
			of = append(of, c)
		}
	}
	return f.putBack(of)
}

// Restore puts everything back, the last change first.
func (f *Forwarder) Restore() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.putBack(slices.Clone(f.changed))
}

// Changed returns what is not as it was, in the order it was changed.
func (f *Forwarder) Changed() []Sysctl {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.changed)
}

// Opened returns the links of ours that switches were changed of.
func (f *Forwarder) Opened() (links []string) {
	for _, c := range f.Changed() {
		if link := c.link(); f.ours(link) && !slices.Contains(links, link) {
			links = append(links, link)
		}
	}
	return links
}

// putBack puts switches back and takes them off the record. What cannot be put
// back stays there.
func (f *Forwarder) putBack(changes []Sysctl) error {
	if len(changes) == 0 {
		return nil
	}
	var failed []error
	var back []Sysctl
	for _, c := range slices.Backward(changes) {
		if err := f.putOneBack(c); err != nil {
			failed = append(failed, fmt.Errorf("cannot put %s back to %s: %w", dotted(c.Path), c.Old, err))
			continue
		}
		back = append(back, c)
	}
	left := without(f.changed, isAmong(back))
	if err := f.record.write(left); err != nil {
		return errors.Join(append(failed, err)...)
	}
	f.changed = left
	return errors.Join(append(failed, f.guardOpen())...)
}

func (f *Forwarder) putOneBack(c Sysctl) error {
	now, err := f.host.sysctl(c.Path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (now != c.New || f.isOthers(c)) {
		return nil
	}
	if err != nil {
		return err
	}
	if c.Path == conf6("all", "forwarding") {
		return f.setAll6(c.Old)
	}
	err = f.set(c.Path, c.Old)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// isOthers reports whether somebody else wants a switch to be what we have made
// it: the host forwards as a whole by now, so that link does, and needs accept_ra
// to be 2.
func (f *Forwarder) isOthers(c Sysctl) bool {
	var why string
	switch link := c.link(); c.Path {
	case conf4(link, "forwarding"):
		why = conf4("all", "forwarding")
	case conf6(link, "accept_ra"):
		why = conf6(link, "forwarding")
	default:
		return false
	}
	value, err := f.host.sysctl(why)
	return err == nil && value != "0"
}

// guardOpen tells what the record has open.
func (f *Forwarder) guardOpen() error {
	open4, open6, err := f.open()
	if err != nil {
		return err
	}
	if err := f.guard(open4, open6); err != nil {
		return fmt.Errorf("cannot guard what is forwarded: %w", err)
	}
	return nil
}

// open returns the links of others that forward because of us.
func (f *Forwarder) open() (open4, open6 []string, err error) {
	all6 := false
	for _, c := range f.changed {
		link := c.link()
		switch {
		case c.Path == conf6("all", "forwarding"):
			all6 = true
		case f.ours(link):
		case c.Path == conf4(link, "forwarding"):
			open4 = append(open4, link)
		case c.Path == conf6(link, f.force):
			open6 = append(open6, link)
		}
	}
	if all6 {
		open6, err = f.others()
	}
	return open4, open6, err
}

// link returns the link that the switch is of: the directory it is in.
func (c Sysctl) link() string {
	parts := strings.Split(c.Path, "/")
	return parts[max(0, len(parts)-2)]
}

func isAmong(changes []Sysctl) func(Sysctl) bool {
	return func(c Sysctl) bool {
		return slices.ContainsFunc(changes, func(other Sysctl) bool { return other.Path == c.Path })
	}
}
