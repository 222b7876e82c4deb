package doctor

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// groupTrace is NFNLGRP_NFTRACE.
	groupTrace = 9
	// traceBuffer holds the events of some thousand packets, bytes.
	traceBuffer = 4 << 20
	// quiet is how long a packet may be between two hooks.
	quiet = 250 * time.Millisecond
)

// A tracer follows packets of ours through all rules of a namespace. It marks
// them in a table of its own and takes them away at the last moment: none
// arrives anywhere, and none leaves the host.
type tracer struct {
	space  *Space
	mark   uint64
	table  *traceTable
	events *nl.NetlinkSocket
	ended  chan struct{} // closed when listen has returned

	injectors injectors

	mu       sync.Mutex
	port     uint16 // the next flow's own
	journeys map[flow]*journey
	ids      map[uint32]*journey // what the kernel calls packets
}

// newTracer makes the table and listens. The caller closes it.
func newTracer(s *Space) (*tracer, error) {
	t := &tracer{
		space: s, mark: rand.Uint64(), port: 20000 + uint16(rand.N(20000)), ended: make(chan struct{}),
		journeys: map[flow]*journey{}, ids: map[uint32]*journey{},
	}
	err := s.in(func() (err error) {
		t.events, err = nl.Subscribe(unix.NETLINK_NETFILTER, groupTrace)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot listen to what rules do: %w", err)
	}
	_ = t.events.SetReceiveBufferSize(traceBuffer, true) // with less, some journeys are not seen
	if t.table, err = addTraceTable(s, t.mark); err != nil {
		t.events.Close()
		return nil, fmt.Errorf("cannot trace packets: %w", err)
	}
	t.injectors = injectors{space: s}
	go t.listen()
	return t, nil
}

func (t *tracer) close() {
	t.injectors.close()
	t.table.remove()
	// A datagram to itself would be the only other way to end a read.
	unix.Shutdown(t.events.GetFd(), unix.SHUT_RDWR)
	<-t.ended
	t.events.Close()
}

// source returns a port that no other flow of this tracer comes from.
func (t *tracer) source() uint16 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.port++
	return t.port
}

// follow has send put the packet of the flow on its way, and returns how far it
// came. The flow's source port is from source.
func (t *tracer) follow(ctx context.Context, f flow, send func(packet []byte) error) (*journey, error) {
	j := &journey{moved: make(chan struct{}, 1)}
	t.mu.Lock()
	t.journeys[f] = j
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		delete(t.journeys, f)
		t.mu.Unlock()
	}()
	if err := send(f.packet(t.mark)); err != nil {
		return nil, err
	}
	for {
		select {
		case <-j.moved:
			t.mu.Lock()
			over := j.over()
			t.mu.Unlock()
			if over {
				return j, nil
			}
		case <-time.After(quiet):
			return j, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// listen takes events until the socket is closed.
func (t *tracer) listen() {
	defer close(t.ended)
	for !t.table.removed() {
		if !readable(t.events.GetFd(), 100*time.Millisecond) {
			continue
		}
		messages, _, err := t.events.Receive()
		if err != nil {
			continue // some were lost: their journeys end early
		}
		for _, m := range messages {
			if m.Header.Type == unix.NFNL_SUBSYS_NFTABLES<<8|msgTrace {
				t.take(m.Data)
			}
		}
	}
}

// take notes one event.
func (t *tracer) take(data []byte) {
	e, ok := parseEvent(data)
	if !ok {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	j := t.ids[e.id]
	if j == nil {
		f, ok := flowOf(e.network, e.transport)
		if j = t.journeys[f]; !ok || j == nil {
			return
		}
		t.ids[e.id] = j
	}
	j.add(e)
	select {
	case j.moved <- struct{}{}:
	default:
	}
}

// msgTrace is NFT_MSG_TRACE.
const msgTrace = 17

// An event is what one rule, or the policy of a chain, did with a packet.
type event struct {
	id                 uint32
	family             uint8
	table, chain       string
	handle             uint64 // of the rule; 0 is the policy
	kind               uint32 // one of the below
	verdict            int32  // of netfilter: drop is 0
	out                uint32 // index of the link it leaves by, 0 if not known
	network, transport []byte // headers, in the first event of a chain
}

const (
	tracePolicy = 1
	traceRule   = 3
)

// parseEvent reads an NFT_MSG_TRACE behind its netlink header.
func parseEvent(data []byte) (e event, ok bool) {
	if len(data) < 4 {
		return event{}, false
	}
	e.family = data[0]
	e.verdict = -1
	for kind, value := range attributes(data[4:]) {
		switch kind {
		case 1: // NFTA_TRACE_TABLE
			e.table = zeroEnded(value)
		case 2: // NFTA_TRACE_CHAIN
			e.chain = zeroEnded(value)
		case 3: // NFTA_TRACE_RULE_HANDLE
			e.handle = bigEndian(value)
		case 4: // NFTA_TRACE_TYPE
			e.kind = uint32(bigEndian(value))
		case 5: // NFTA_TRACE_VERDICT
			e.verdict = verdictOf(value)
		case 6: // NFTA_TRACE_ID
			e.id = uint32(bigEndian(value))
		case 8: // NFTA_TRACE_NETWORK_HEADER
			e.network = value
		case 9: // NFTA_TRACE_TRANSPORT_HEADER
			e.transport = value
		case 12: // NFTA_TRACE_OIF
			e.out = uint32(bigEndian(value))
		case 16: // NFTA_TRACE_POLICY
			e.verdict = int32(bigEndian(value))
		}
	}
	return e, e.chain != ""
}

// verdictOf reads NFTA_VERDICT_CODE.
func verdictOf(data []byte) int32 {
	for kind, value := range attributes(data) {
		if kind == unix.NFTA_VERDICT_CODE {
			return int32(bigEndian(value))
		}
	}
	return -1
}

// attributes yields those of a message, up to the first that is cut off.
func attributes(data []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		const header = unix.SizeofNlAttr
		for len(data) >= header {
			length := int(binary.NativeEndian.Uint16(data))
			if length < header || length > len(data) {
				return
			}
			kind := binary.NativeEndian.Uint16(data[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(kind, data[header:length]) {
				return
			}
			data = data[min((length+3)&^3, len(data)):] // they are padded
		}
	}
}

func bigEndian(data []byte) uint64 {
	switch len(data) {
	case 4:
		return uint64(binary.BigEndian.Uint32(data))
	case 8:
		return binary.BigEndian.Uint64(data)
	}
	return 0
}

func zeroEnded(data []byte) string {
	for i, c := range data {
		if c == 0 {
			return string(data[:i])
		}
	}
	return string(data)
}
