package ptyfwd

import "time"

const (
	escapeKey    = 0x1d // ^]
	escapeCount  = 3
	escapeWithin = time.Second // from the first to the last
)

// An escape recognises the keys by which a user leaves.
type escape struct {
	count int
	first time.Time
}

// scan reports whether chunk, read at now, completes the sequence. All of it
// counts from the first key: three keys half a second apart are too slow.
func (e *escape) scan(now time.Time, chunk []byte) bool {
	for _, c := range chunk {
		switch {
		case c != escapeKey:
			e.count = 0
			continue
		case e.count == 0 || now.Sub(e.first) > escapeWithin:
			e.count, e.first = 1, now
		default:
			e.count++
		}
		if e.count >= escapeCount {
			return true
		}
	}
	return false
}
