package netns

import (
	"encoding/binary"
	"errors"
	"iter"
	"syscall"

	"golang.org/x/sys/unix"
)

// order is the byte order of netlink: the machine's own.
var order = binary.NativeEndian

// A request is a netlink message under construction.
type request struct{ buf []byte }

// newRequest begins a message with the fixed part header.
func newRequest(kind, flags uint16, header []byte) request {
	buf := make([]byte, unix.NLMSG_HDRLEN, 64)
	order.PutUint16(buf[4:], kind)
	order.PutUint16(buf[6:], flags|unix.NLM_F_REQUEST)
	return request{append(buf, header...)}
}

// add appends an attribute of four bytes.
func (r *request) add(kind uint16, value uint32) {
	r.buf = order.AppendUint16(r.buf, unix.NLA_HDRLEN+4)
	r.buf = order.AppendUint16(r.buf, kind)
	r.buf = order.AppendUint32(r.buf, value)
}

func (r request) bytes(seq uint32) []byte {
	order.PutUint32(r.buf[0:], uint32(len(r.buf)))
	order.PutUint32(r.buf[8:], seq)
	return r.buf
}

func (r request) flags() uint16  { return order.Uint16(r.buf[6:]) }
func (r request) isDump() bool   { return r.flags()&unix.NLM_F_DUMP == unix.NLM_F_DUMP }
func (r request) wantsAck() bool { return r.flags()&unix.NLM_F_ACK != 0 }

// genericHeader is struct rtgenmsg, padded.
func genericHeader(family byte) []byte { return []byte{family, 0, 0, 0} }

// A message is a received netlink message.
type message struct {
	kind, flags uint16
	seq         uint32
	body        []byte
}

var errShort = errors.New("netlink message is cut short")

// messages iterates over the messages in a datagram; after an error there is
// nothing more.
func messages(b []byte) iter.Seq2[message, error] {
	return func(yield func(message, error) bool) {
		for len(b) > 0 {
			if len(b) < unix.NLMSG_HDRLEN {
				yield(message{}, errShort)
				return
			}
			size := int64(order.Uint32(b))
			if size < unix.NLMSG_HDRLEN || size > int64(len(b)) {
				yield(message{}, errShort)
				return
			}
			m := message{
				kind: order.Uint16(b[4:]), flags: order.Uint16(b[6:]), seq: order.Uint32(b[8:]),
				body: b[unix.NLMSG_HDRLEN:size],
			}
			if !yield(m, nil) {
				return
			}
			b = b[min(align(int(size)), len(b)):]
		}
	}
}

// ends reports whether m is the last of an answer, and with which error.
func (m message) ends() (bool, error) {
	isError, isDone := m.kind == unix.NLMSG_ERROR, m.kind == unix.NLMSG_DONE
	if !isError && !isDone {
		return false, nil
	}
	if len(m.body) < 4 {
		return true, errShort
	}
	if code := int32(order.Uint32(m.body)); code < 0 {
		return true, syscall.Errno(-code)
	}
	return true, nil
}

// attributes iterates over the attributes in b, without flag bits.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.NLA_HDRLEN {
			size := int(order.Uint16(b))
			if size < unix.NLA_HDRLEN || size > len(b) {
				return
			}
			const flagBits = unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER
			if !yield(order.Uint16(b[2:])&^flagBits, b[unix.NLA_HDRLEN:size]) {
				return
			}
			b = b[min(align(size), len(b)):]
		}
	}
}

// attribute returns the value of an attribute behind a fixed part of the given size.
func (m message) attribute(header int, kind uint16) ([]byte, bool) {
	if len(m.body) < header {
		return nil, false
	}
	for k, value := range attributes(m.body[header:]) {
		if k == kind {
			return value, true
		}
	}
	return nil, false
}

// isAbout reports whether m speaks of the namespace ns. Answers about our own
// do not say so.
func (m message) isAbout(ns nsid, header int, target uint16) bool {
	value, ok := m.attribute(header, target)
	if ns == ours {
		return !ok
	}
	return ok && len(value) == 4 && order.Uint32(value) == uint32(ns)
}

func align(n int) int { return (n + 3) &^ 3 }
