package doctor

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// verdictDrop is NF_DROP.
const verdictDrop = 0

// A journey is how far a packet came.
type journey struct {
	stages  []string // in their order
	culprit *event   // what ended it; nil if nobody was seen doing so

	// As it left, or was delivered.
	link     int // index of the link it left by
	from, to netip.AddrPort

	moved chan struct{} // has a token after a change
}

// add notes an event. A drop in the tracer's own table is the end of the road.
func (j *journey) add(e event) {
	if e.table == traceTableName && e.family == unix.NFPROTO_INET {
		if !slices.Contains(j.stages, e.chain) {
			j.stages = append(j.stages, e.chain)
		}
		if f, ok := flowOf(e.network, e.transport); ok && (e.chain == stageLeft || e.chain == stageDelivery) {
			j.link, j.from, j.to = int(e.out), f.from, f.to
		}
		return
	}
	if (e.kind == traceRule || e.kind == tracePolicy) && e.verdict == verdictDrop {
		j.culprit = &e
	}
}

func (j *journey) at(stage string) bool { return slices.Contains(j.stages, stage) }

// left reports whether the packet would have left the host, and delivered
// whether a program of the host would have had it.
func (j *journey) left() bool      { return j.at(stageLeft) }
func (j *journey) delivered() bool { return j.at(stageDelivery) }

// over reports whether nothing more can come.
func (j *journey) over() bool { return j.culprit != nil || j.left() || j.delivered() }
