package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// An element of a set, as the kernel has it: fields are filled up to four bytes.
// What is of strings is bytes, so that elements can be compared.
type element struct {
	key  string
	end  string // of a network: the last key of it
	data string // of a map: where it leads

	counted Counter
	what    fmt.Stringer // it is for; nil if it was read back
}

// elements are those of a table, in the order in which they came.
type elements struct {
	sets  map[string][]element
	index map[[2]string]int // by set and key
}

func newElements() *elements {
	return &elements{sets: map[string][]element{}, index: map[[2]string]int{}}
}

func (e *elements) empty() bool { return len(e.index) == 0 }

// insert adds x to the set, unless it is there.
func (e *elements) insert(set string, x element) error {
	at := [2]string{set, x.key}
	if i, ok := e.index[at]; ok {
		if had := e.sets[set][i]; had.data != x.data || had.end != x.end {
			return fmt.Errorf("%s is given twice, for different things", x.what)
		}
		return nil
	}
	e.index[at] = len(e.sets[set])
	e.sets[set] = append(e.sets[set], x)
	return nil
}

func (e *elements) get(set, key string) (element, bool) {
	i, ok := e.index[[2]string{set, key}]
	if !ok {
		return element{}, false
	}
	return e.sets[set][i], true
}

// A subject is what elements are for, such as "link ve-x".
type subject struct{ kind, name string }

func (s subject) String() string { return s.kind + " " + s.name }

// places returns the elements that r has in the two tables.
func (r Rules) places() (inet, bridge *elements, err error) {
	p := places{inet: newElements(), bridge: newElements()}
	p.addAll(r)
	return p.inet, p.bridge, p.err
}

// places are elements while they are put together. The first error stays.
type places struct {
	inet, bridge *elements
	err          error
}

func (p *places) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
}

func (p *places) addAll(r Rules) {
	for _, l := range r.Links {
		p.addLink(l)
	}
	for _, u := range r.Uplinks {
		set, what := "uplinks4", subject{"uplink", u.Name + " of IPv4"}
		if u.IPv6 {
			set, what = "uplinks6", subject{"uplink", u.Name + " of IPv6"}
		}
		p.put(p.inet, set, what, p.linkField(u.Name))
	}
	for _, port := range r.Ports {
		p.addPort(port)
	}
	for _, i := range r.Inward {
		p.addInward(i)
	}
	for _, m := range r.Members {
		p.addMember(m)
	}
	for _, router := range r.Routers {
		if !router.Is6() || router.Is4In6() {
			p.fail("%s is no IPv6 address of a router", router)
		}
		router = router.WithZone("")
		p.put(p.bridge, "routers", subject{"router", router.String()}, addressField(router))
	}
}

func (p *places) addLink(l Link) {
	name, what := p.linkField(l.Name), subject{"link", l.Name}
	p.put(p.inet, "links", what, name)
	for _, s := range p.apart(l.Name, l.Sources) {
		if s.IsSingleIP() {
			p.put(p.inet, "sources"+version(s.Addr()), what, name, addressField(s.Addr().WithZone("")))
		} else {
			p.putNetwork("networks"+version(s.Addr()), what, name, s.Masked())
		}
	}
	for _, s := range p.apart(l.Name, l.Given) {
		p.putNetwork("given"+version(s.Addr()), what, name, s.Masked())
	}
}

// apart returns networks of a link without those that others have all of.
func (p *places) apart(link string, networks []netip.Prefix) (list []netip.Prefix) {
	for i, s := range networks {
		if !s.IsValid() || s.Addr().Is4In6() {
			p.fail("%s: %s is no network", link, s)
			return nil
		}
		if !coveredBefore(networks, i) {
			list = append(list, s)
		}
	}
	return list
}

// coveredBefore tells whether another network has all of the one at i: the
// kernel refuses elements that overlap.
func coveredBefore(networks []netip.Prefix, i int) bool {
	for j, other := range networks {
		wider := other.Bits() < networks[i].Bits() || (other.Bits() == networks[i].Bits() && j < i)
		if wider && other.Contains(networks[i].Addr()) {
			return true
		}
	}
	return false
}

func (p *places) addPort(port Port) {
	if err := port.check(); err != nil {
		p.fail("%w", err)
		return
	}
	k := port.Key()
	v := version(k.At.Addr())
	fields := []string{protocolField(k.Protocol), serviceField(k.At.Port())}
	prefix := ""
	if !k.At.Addr().IsUnspecified() {
		prefix = "address_"
		fields = slices.Insert(fields, 0, addressField(k.At.Addr()))
	}
	p.putMapping(prefix+"ports"+v, k, fields, port.To)
	p.put(p.inet, prefix+"traffic"+v, k, fields...)
}

func (p *places) addInward(i Inward) {
	if err := i.check(); err != nil {
		p.fail("%w", err)
		return
	}
	v := version(i.At.Addr())
	fields := []string{p.linkField(i.Link), addressField(i.At.Addr()), protocolField(i.Protocol), serviceField(i.At.Port())}
	p.putMapping("inward"+v, i.Key(), fields, i.To)
	p.put(p.inet, "inward_traffic"+v, i.Key(), fields...)
}

func (p *places) addMember(m Member) {
	if len(m.MAC) != 6 {
		p.fail("%s: %q is no MAC of Ethernet", m.Name, m.MAC)
		return
	}
	name, what := p.linkField(m.Name), subject{"member", m.Name}
	p.put(p.bridge, "members", what, name)
	p.put(p.bridge, "reflections", what, name, name)
	p.put(p.bridge, "macs", what, name, string(m.MAC))
	for _, s := range m.Sources {
		if !s.IsValid() || s.Is4In6() {
			p.fail("%s: %s is no address", m.Name, s)
			return
		}
		p.put(p.bridge, "sources"+version(s), what, name, addressField(s.WithZone("")))
	}
}

// Fields of keys, and of what maps lead to.

func (p *places) linkField(name string) string {
	if err := checkName(name); err != nil {
		p.fail("%w", err)
		return ""
	}
	return name + strings.Repeat("\x00", unix.IFNAMSIZ-len(name))
}

func addressField(a netip.Addr) string { return string(a.AsSlice()) }

func protocolField(p uint8) string { return string([]byte{p}) }

func serviceField(port uint16) string { return string(binary.BigEndian.AppendUint16(nil, port)) }

func join(fields ...string) (key string) {
	for _, f := range fields {
		key += f
		// A key of one field is not filled up.
		if pad := len(f) % 4; pad != 0 && len(fields) > 1 {
			key += "\x00\x00\x00"[:4-pad]
		}
	}
	return key
}

func (p *places) put(to *elements, set string, what fmt.Stringer, fields ...string) {
	p.insert(to, set, element{key: join(fields...), what: what})
}

func (p *places) putMapping(set string, what fmt.Stringer, fields []string, to netip.AddrPort) {
	data := join(addressField(to.Addr().WithZone("")), serviceField(to.Port()))
	p.insert(p.inet, set, element{key: join(fields...), data: data, what: what})
}

func (p *places) putNetwork(set string, what fmt.Stringer, name string, network netip.Prefix) {
	p.insert(p.inet, set, element{
		key: join(name, addressField(network.Addr())), end: join(name, addressField(last(network))), what: what,
	})
}

func (p *places) insert(to *elements, set string, x element) {
	if err := to.insert(set, x); err != nil {
		p.fail("%w", err)
	}
}

// last returns the last address of a network.
func last(network netip.Prefix) netip.Addr {
	bytes := network.Addr().AsSlice()
	for bit := network.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(bytes)
	return a
}
