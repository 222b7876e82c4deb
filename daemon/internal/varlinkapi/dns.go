package varlinkapi

import (
	"encoding/binary"
	"iter"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Numbers of DNS (RFC 1035, 3596).
const (
	classIN  = 1
	typeA    = 1
	typeAAAA = 28

	codeSuccess      = 0
	codeNoSuchDomain = 3

	maxLabel  = 63  // bytes
	maxDomain = 255 // bytes on the wire, with a length before each label and at the end
)

// appendDomain appends name as DNS sends it, uncompressed. A dot at the end
// changes nothing; "" and "." are the root. ok is false if name is no domain.
func appendDomain(b []byte, name string) (_ []byte, ok bool) {
	start := len(b)
	name = strings.TrimSuffix(name, ".")
	if name != "" {
		for label := range strings.SplitSeq(name, ".") {
			if label == "" || len(label) > maxLabel {
				return b, false
			}
			b = append(b, byte(len(label)))
			b = append(b, label...)
		}
	}
	b = append(b, 0)
	return b, len(b)-start <= maxDomain
}

// isDomain accepts what can be asked for, in whatever alphabet.
//
// Reference: dns-domain.c, dns_name_is_valid.
func isDomain(v any) bool {
	name := v.(string)
	_, ok := appendDomain(nil, name)
	return ok && utf8.ValidString(name) && !strings.ContainsFunc(name, unicode.IsControl)
}

// parents are the domains that name is in, from the nearest to the one before
// the root.
func parents(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for {
			_, rest, ok := strings.Cut(name, ".")
			if !ok || rest == "" || !yield(rest) {
				return
			}
			name = rest
		}
	}
}

// encodeAddress is the resource record of type A or AAAA, as DNS sends it. It is
// never to be cached: machines come and go. ok is false if name is no domain.
func encodeAddress(name string, addr netip.Addr) (_ []byte, ok bool) {
	b, ok := appendDomain(nil, name)
	if !ok {
		return nil, false
	}
	kind := uint16(typeAAAA)
	if addr.Is4() {
		kind = typeA
	}
	b = binary.BigEndian.AppendUint16(b, kind)
	b = binary.BigEndian.AppendUint16(b, classIN)
	b = binary.BigEndian.AppendUint32(b, 0) // seconds to live
	data := addr.AsSlice()
	b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
	return append(b, data...), true
}
