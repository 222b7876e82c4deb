package link

import (
	"encoding/binary"
	"errors"
	"iter"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	vns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	// maxItems bounds what a namespace can make us keep of one list. Its root
	// may make links, addresses and routes as he likes.
	maxItems = 4096
	// maxInterrupted is how often a list is taken again that was disturbed by
	// a change in the namespace.
	maxInterrupted = 5
)

// order is the byte order of netlink: the machine's own.
var order = binary.NativeEndian

// newSocket makes a socket in the namespace of the calling thread. The kernel
// says on it, in words, what it has against a request, and looks at all of a
// request for a list.
func newSocket(protocol int) (*nl.NetlinkSocket, error) {
	socket, err := nl.GetNetlinkSocketAt(vns.None(), vns.None(), protocol)
	if err != nil {
		return nil, err
	}
	socket.SetSendTimeout(&answerTimeout)
	socket.SetReceiveTimeout(&answerTimeout)
	err = socket.SetExtAck(true)
	if err == nil && protocol == unix.NETLINK_ROUTE {
		err = unix.SetsockoptInt(socket.GetFd(), unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	}
	if err != nil {
		socket.Close()
		return nil, err
	}
	return socket, nil
}

// A part is some bytes of a request: its fixed header.
type part []byte

func (p part) Len() int          { return len(p) }
func (p part) Serialize() []byte { return p }

// A request is what one netlink message asks for.
type request struct {
	protocol int // of the socket
	kind     int // of the message
	flags    int
	parts    []nl.NetlinkRequestData
}

// ask sends r and calls each for every message of the answer, until it returns
// false. What each is given is its to keep.
func (s *Space) ask(r request, each func(body []byte) bool) error {
	socket, err := s.socket(r.protocol)
	if err != nil {
		return err
	}
	message := &nl.NetlinkRequest{
		NlMsghdr: unix.NlMsghdr{
			Len: unix.SizeofNlMsghdr, Type: uint16(r.kind), Flags: uint16(r.flags) | unix.NLM_F_REQUEST,
		},
		Sockets: map[int]*nl.SocketHandle{r.protocol: socket},
	}
	for _, part := range r.parts {
		message.AddData(part)
	}
	return message.ExecuteIter(r.protocol, 0, each)
}

// change sends a request of NETLINK_ROUTE that has no answer but whether it was
// done.
func (s *Space) change(kind, flags int, parts ...nl.NetlinkRequestData) error {
	r := request{unix.NETLINK_ROUTE, kind, flags | unix.NLM_F_ACK, parts}
	return s.ask(r, func([]byte) bool { return true })
}

// list returns at most limit items of what parse makes of the answers to r. A
// limit of 0 is none.
func list[T any](s *Space, r request, limit int, parse func(body []byte) (T, bool)) ([]T, error) {
	r.flags |= unix.NLM_F_DUMP
	for attempt := 1; ; attempt++ {
		var items []T
		err := s.ask(r, func(body []byte) bool {
			if item, ok := parse(body); ok {
				items = append(items, item)
			}
			return limit == 0 || len(items) < limit
		})
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return items, err
		}
		if attempt == maxInterrupted {
			return items, nil // as good as it gets while it keeps changing
		}
	}
}

// attributes returns the attributes of b, which end where they make no sense.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofNlAttr {
			size := int(order.Uint16(b))
			if size < unix.SizeofNlAttr || size > len(b) {
				return
			}
			kind := order.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(kind, b[unix.SizeofNlAttr:size]) {
				return
			}
			b = b[min(len(b), (size+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1)):]
		}
	}
}
