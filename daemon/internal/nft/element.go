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

	text   string // the key, for nft
	target string // the data, for nft
	what   string // it is for, for people
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
			return fmt.Errorf("%s is given twice: to %s, and to %s", x.what, had.target, x.target)
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
		set, what := "uplinks4", "uplink "+u.Name+" of IPv4"
		if u.IPv6 {
			set, what = "uplinks6", "uplink "+u.Name+" of IPv6"
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
		p.put(p.bridge, "routers", "router "+router.String(), addressField(router))
	}
}

func (p *places) addLink(l Link) {
	name, what := p.linkField(l.Name), "link "+l.Name
	p.put(p.inet, "links", what, name)
	for i, s := range l.Sources {
		if !s.IsValid() || s.Addr().Is4In6() {
			p.fail("%s: %s is no network", l.Name, s)
			return
		}
		switch {
		case coveredBefore(l.Sources, i):
		case s.IsSingleIP():
			p.put(p.inet, "sources"+version(s.Addr()), what, name, addressField(s.Addr().WithZone("")))
		default:
			p.putNetwork("networks"+version(s.Addr()), what, name, s.Masked())
		}
	}
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
	fields := []keyField{protocolField(k.Protocol), serviceField(k.At.Port())}
	prefix := ""
	if !k.At.Addr().IsUnspecified() {
		prefix = "address_"
		fields = slices.Insert(fields, 0, addressField(k.At.Addr()))
	}
	p.putMapping(prefix+"ports"+v, k.String(), fields, port.To)
	p.put(p.inet, prefix+"traffic"+v, k.String(), fields...)
}

func (p *places) addInward(i Inward) {
	if err := i.check(); err != nil {
		p.fail("%w", err)
		return
	}
	v := version(i.At.Addr())
	fields := []keyField{p.linkField(i.Link), addressField(i.At.Addr()), protocolField(i.Protocol), serviceField(i.At.Port())}
	p.putMapping("inward"+v, i.Key().String(), fields, i.To)
	p.put(p.inet, "inward_traffic"+v, i.Key().String(), fields...)
}

func (p *places) addMember(m Member) {
	if len(m.MAC) != 6 {
		p.fail("%s: %q is no MAC of Ethernet", m.Name, m.MAC)
		return
	}
	name, what := p.linkField(m.Name), "member "+m.Name
	p.put(p.bridge, "members", what, name)
	p.put(p.bridge, "reflections", what, name, name)
	p.put(p.bridge, "macs", what, name, keyField{string(m.MAC), m.MAC.String()})
	for _, s := range m.Sources {
		if !s.IsValid() || s.Is4In6() {
			p.fail("%s: %s is no address", m.Name, s)
			return
		}
		p.put(p.bridge, "sources"+version(s), what, name, addressField(s.WithZone("")))
	}
}

// A keyField is one of a key, as bytes and for nft.
type keyField struct{ bytes, text string }

func (p *places) linkField(name string) keyField {
	if err := checkName(name); err != nil {
		p.fail("%w", err)
		return keyField{}
	}
	return keyField{name + strings.Repeat("\x00", unix.IFNAMSIZ-len(name)), `"` + name + `"`}
}

func addressField(a netip.Addr) keyField { return keyField{string(a.AsSlice()), a.String()} }

func protocolField(p uint8) keyField { return keyField{string([]byte{p}), protocolName(p)} }

func serviceField(port uint16) keyField {
	return keyField{string(binary.BigEndian.AppendUint16(nil, port)), fmt.Sprint(port)}
}

func join(fields []keyField) (bytes, text string) {
	var texts []string
	for _, f := range fields {
		bytes += f.bytes
		// A key of one field is not filled up.
		if pad := len(f.bytes) % 4; pad != 0 && len(fields) > 1 {
			bytes += "\x00\x00\x00"[:4-pad]
		}
		texts = append(texts, f.text)
	}
	return bytes, strings.Join(texts, " . ")
}

func (p *places) put(to *elements, set, what string, fields ...keyField) {
	key, text := join(fields)
	if err := to.insert(set, element{key: key, text: text, what: what}); err != nil {
		p.fail("%w", err)
	}
}

func (p *places) putMapping(set, what string, fields []keyField, to netip.AddrPort) {
	key, text := join(fields)
	data, target := join([]keyField{addressField(to.Addr().WithZone("")), serviceField(to.Port())})
	if err := p.inet.insert(set, element{key: key, data: data, text: text, target: target, what: what}); err != nil {
		p.fail("%w", err)
	}
}

func (p *places) putNetwork(set, what string, name keyField, network netip.Prefix) {
	key, _ := join([]keyField{name, addressField(network.Addr())})
	end, _ := join([]keyField{name, addressField(last(network))})
	x := element{key: key, end: end, text: name.text + " . " + network.String(), what: what}
	if err := p.inet.insert(set, x); err != nil {
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
