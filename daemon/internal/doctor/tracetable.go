package doctor

import (
	"encoding/binary"
	"math"
	"sync/atomic"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// traceTableName is what the table is called while packets are traced. One that
// is there otherwise was left by a daemon that was killed.
const traceTableName = "machd-doctor"

// The chains of the table say where a packet is. Their names are the stages of
// a journey.
const (
	stageIn       = "arrived"   // just came in
	stageOut      = "sent"      // was just sent by the host
	stageRouting  = "routing"   // has passed what is before the routing decision
	stageForward  = "forward"   // is to be forwarded
	stagePassed   = "forwarded" // was let through
	stageDelivery = "delivered" // is for the host itself, whose rules let it in
	stageLeft     = "left"      // leaves by its link, as it will be seen there
)

const (
	earliest = math.MinInt32 + 1000
	latest   = math.MaxInt32 - 1000 // before conntrack confirms
)

// traceChains are the table's. "marks" has the packets traced, "takes" has
// them end there.
var traceChains = []struct {
	name        string
	hook        *nftables.ChainHook
	priority    nftables.ChainPriority
	marks, take bool
}{
	{stageIn, nftables.ChainHookPrerouting, -450, true, false},
	{stageOut, nftables.ChainHookOutput, -450, true, false},
	{stageRouting, nftables.ChainHookPrerouting, latest, false, false},
	{stageForward, nftables.ChainHookForward, earliest, false, false},
	{stagePassed, nftables.ChainHookForward, latest, false, false},
	{stageDelivery, nftables.ChainHookInput, latest, false, true},
	{stageLeft, nftables.ChainHookPostrouting, latest, false, true},
}

// A traceTable is there until it is removed.
type traceTable struct {
	space *Space
	table *nftables.Table
	gone  atomic.Bool
}

func addTraceTable(s *Space, mark uint64) (*traceTable, error) {
	removeTraceTable(s)
	c, err := s.netfilter()
	if err != nil {
		return nil, err
	}
	defer c.CloseLasting()
	t := &traceTable{space: s, table: c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: traceTableName})}
	accept := nftables.ChainPolicyAccept
	for _, chain := range traceChains {
		added := c.AddChain(&nftables.Chain{
			Name: chain.name, Table: t.table, Type: nftables.ChainTypeFilter,
			Hooknum: chain.hook, Priority: &chain.priority, Policy: &accept,
		})
		var then []expr.Any
		switch {
		case chain.marks:
			then = []expr.Any{
				&expr.Immediate{Register: 1, Data: []byte{1}},
				&expr.Meta{Key: expr.MetaKeyNFTRACE, SourceRegister: true, Register: 1},
			}
		case chain.take:
			then = []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}
		default:
			continue
		}
		for _, match := range [][]expr.Any{
			marked(unix.IPPROTO_TCP, 4, binary.BigEndian.AppendUint32(nil, uint32(mark))), // the sequence number
			marked(unix.IPPROTO_UDP, 8, binary.BigEndian.AppendUint64(nil, mark)),         // the datagram
		} {
			c.AddRule(&nftables.Rule{Table: t.table, Chain: added, Exprs: append(match, then...)})
		}
	}
	return t, c.Flush()
}

// marked matches packets of a protocol that have mark at an offset from their
// transport header.
func marked(protocol uint8, offset uint32, mark []byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protocol}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: uint32(len(mark))},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: mark},
	}
}

func (t *traceTable) removed() bool { return t.gone.Load() }

func (t *traceTable) remove() {
	removeTraceTable(t.space)
	t.gone.Store(true)
}

func removeTraceTable(s *Space) error {
	c, err := s.netfilter()
	if err != nil {
		return err
	}
	defer c.CloseLasting()
	c.DelTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: traceTableName})
	return c.Flush()
}
