package responder

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	dnsPort   = 53
	dnsHeader = 12 // bytes
	// longestQuery is the longest that is looked at, bytes. One is a name of at
	// most 255, and a few options.
	longestQuery = 4096
	// smallestUDP is how long an answer over UDP may be that nobody has said
	// anything about, bytes.
	smallestUDP = 512
	// ownUDP is how long a query over UDP may be, we say, bytes: what fits in a
	// packet on every path.
	ownUDP = 1232
	// ownTTL is how long names of machines may be remembered, seconds: they come
	// and go.
	ownTTL = 5
	// mostAddresses is how many addresses of a name are told.
	mostAddresses = 32

	typeIXFR dnsmessage.Type = 251
)

// A verdict is what is to be done with a query.
type verdict int

const (
	ignore  verdict = iota // it is not one
	answer                 // here
	forward                // to the host's servers
)

// A question is a query that is understood.
type question struct {
	header dnsmessage.Header
	dnsmessage.Question
	name   string // lower case, without the final dot
	edns   bool
	dnssec bool // the client wants it
	size   int  // the longest answer that the client takes over UDP, bytes
}

// resolve answers what is about names of machines, and what must not be asked
// on behalf of a guest. An answer is no longer than limit bytes; 0 stands for
// what the client takes over UDP.
func (cfg *Config) resolve(query []byte, limit int) (reply []byte, v verdict) {
	q, code, v := parseQuery(query)
	if v != answer {
		return nil, v
	}
	if limit == 0 {
		limit = q.size
	}
	if code != dnsmessage.RCodeSuccess {
		return q.reply(code, nil, limit), answer
	}
	if cfg.Lookup != nil && q.Class == dnsmessage.ClassINET {
		if addrs, known := cfg.Lookup(q.name); known {
			return q.reply(dnsmessage.RCodeSuccess, q.addresses(addrs), limit), answer
		}
	}
	if addr, ok := reversed(q.name); ok && cfg.Reverse != nil && cfg.onLink(addr) {
		return q.pointer(cfg.Reverse, addr, limit), answer
	}
	return nil, forward
}

// parseQuery reads a query. What has a code is answered by it alone.
func parseQuery(b []byte) (q question, code dnsmessage.RCode, v verdict) {
	var p dnsmessage.Parser
	var err error
	if len(b) < dnsHeader || len(b) > longestQuery {
		return q, 0, ignore
	}
	if q.header, err = p.Start(b); err != nil || q.header.Response {
		return q, 0, ignore
	}
	q.size = smallestUDP
	if q.header.OpCode != 0 {
		// The host may be allowed to change zones. Its guests are not.
		return q, dnsmessage.RCodeNotImplemented, answer
	}
	if binary.BigEndian.Uint16(b[4:]) != 1 || questionEnd(b) < 0 {
		return q, dnsmessage.RCodeFormatError, answer
	}
	if q.Question, err = p.Question(); err != nil {
		return q, dnsmessage.RCodeFormatError, answer
	}
	q.name = strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
	q.parseOptions(&p)
	if q.Type == dnsmessage.TypeAXFR || q.Type == typeIXFR {
		return q, dnsmessage.RCodeRefused, answer // as with changes
	}
	return q, dnsmessage.RCodeSuccess, answer
}

// questionEnd returns where the first question of a message ends, negative if it
// is not in one piece.
func questionEnd(b []byte) int {
	i := dnsHeader
	for i < len(b) && b[i] != 0 {
		if b[i] > 63 {
			return -1
		}
		i += 1 + int(b[i])
	}
	if i += 1 + 4; i > len(b) {
		return -1
	}
	return i
}

func (q *question) parseOptions(p *dnsmessage.Parser) {
	if p.SkipAllQuestions() != nil || p.SkipAllAnswers() != nil || p.SkipAllAuthorities() != nil {
		return
	}
	for {
		h, err := p.AdditionalHeader()
		if err != nil {
			return
		}
		if h.Type == dnsmessage.TypeOPT {
			q.edns, q.dnssec = true, h.DNSSECAllowed()
			q.size = max(smallestUDP, int(h.Class))
			return
		}
		if p.SkipAdditional() != nil {
			return
		}
	}
}

// addresses returns the records that answer q. There are none if q is about
// something else: the name is known, and has that not.
func (q *question) addresses(addrs []netip.Addr) []dnsmessage.Resource {
	var found []dnsmessage.Resource
	for _, addr := range addrs[:min(len(addrs), mostAddresses)] {
		addr = addr.Unmap()
		switch {
		case addr.Is4() && q.wants(dnsmessage.TypeA):
			found = append(found, q.record(dnsmessage.TypeA, &dnsmessage.AResource{A: addr.As4()}))
		case addr.Is6() && q.wants(dnsmessage.TypeAAAA):
			found = append(found, q.record(dnsmessage.TypeAAAA, &dnsmessage.AAAAResource{AAAA: addr.As16()}))
		}
	}
	return found
}

func (q *question) wants(t dnsmessage.Type) bool { return q.Type == t || q.Type == dnsmessage.TypeALL }

func (q *question) record(t dnsmessage.Type, body dnsmessage.ResourceBody) dnsmessage.Resource {
	return dnsmessage.Resource{
		Header: dnsmessage.ResourceHeader{Name: q.Name, Type: t, Class: dnsmessage.ClassINET, TTL: ownTTL},
		Body:   body,
	}
}

// pointer answers for an address of the link. Nobody else knows of those.
func (q *question) pointer(reverse func(netip.Addr) (string, bool), addr netip.Addr, limit int) []byte {
	text, known := reverse(addr)
	name, err := dnsmessage.NewName(text + ".")
	if !known || err != nil {
		return q.reply(dnsmessage.RCodeNameError, nil, limit)
	}
	var found []dnsmessage.Resource
	if q.wants(dnsmessage.TypePTR) {
		found = append(found, q.record(dnsmessage.TypePTR, &dnsmessage.PTRResource{PTR: name}))
	}
	return q.reply(dnsmessage.RCodeSuccess, found, limit)
}

// reply returns an answer of at most limit bytes, or one that is marked as cut.
func (q *question) reply(code dnsmessage.RCode, records []dnsmessage.Resource, limit int) []byte {
	m := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: q.header.ID, Response: true, OpCode: q.header.OpCode, Authoritative: len(records) > 0,
			RecursionDesired: q.header.RecursionDesired, RecursionAvailable: true,
			CheckingDisabled: q.header.CheckingDisabled, RCode: code,
		},
		Answers: records,
	}
	if q.Name.Length > 0 {
		m.Questions = []dnsmessage.Question{q.Question}
	}
	if q.edns {
		options := dnsmessage.Resource{Body: &dnsmessage.OPTResource{}}
		if err := options.Header.SetEDNS0(ownUDP, code, q.dnssec); err == nil {
			m.Additionals = []dnsmessage.Resource{options}
		}
	}
	b, err := m.Pack()
	if err == nil && len(b) > limit {
		m.Answers, m.Truncated = nil, true
		b, err = m.Pack()
	}
	if err != nil {
		return nil
	}
	return b
}

// failure answers query when no server does.
func failure(query []byte) []byte {
	q, _, v := parseQuery(query)
	if v != answer {
		return nil
	}
	return q.reply(dnsmessage.RCodeServerFailure, nil, longestQuery)
}

// onLink says whether addr is one that guests may speak from.
func (cfg *Config) onLink(addr netip.Addr) bool {
	addr = addr.Unmap()
	return cfg.Gateway4.Masked().Contains(addr) || cfg.Gateway6.Masked().Contains(addr)
}

// reversed returns the address that a name below in-addr.arpa or ip6.arpa is
// about.
func reversed(name string) (netip.Addr, bool) {
	if text, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		return reversed4(strings.Split(text, "."))
	}
	if text, ok := strings.CutSuffix(name, ".ip6.arpa"); ok {
		return reversed6(text)
	}
	return netip.Addr{}, false
}

func reversed4(labels []string) (netip.Addr, bool) {
	var b [4]byte
	if len(labels) != len(b) {
		return netip.Addr{}, false
	}
	slices.Reverse(labels)
	for i, label := range labels {
		n, err := strconv.ParseUint(label, 10, 8)
		if err != nil {
			return netip.Addr{}, false
		}
		b[i] = byte(n)
	}
	return netip.AddrFrom4(b), true
}

func reversed6(text string) (netip.Addr, bool) {
	const digits = 32
	if len(text) != 2*digits-1 {
		return netip.Addr{}, false
	}
	turned := make([]byte, digits)
	for i := range digits {
		if i > 0 && text[2*i-1] != '.' {
			return netip.Addr{}, false
		}
		turned[digits-1-i] = text[2*i]
	}
	b, err := hex.DecodeString(string(turned))
	if err != nil {
		return netip.Addr{}, false
	}
	return netip.AddrFrom16([16]byte(b)), true
}
