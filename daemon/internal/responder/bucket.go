package responder

import "time"

// A bucket holds the right to read messages. It fills at a rate, so that a
// flood costs no more than that.
type bucket struct {
	rate  float64 // messages a second, in the long run
	burst float64 // messages at once, after quiet
	level float64
	last  time.Time
}

func newBucket(rate, burst float64) *bucket {
	return &bucket{rate: rate, burst: burst, level: burst}
}

// wait returns how long to wait until there is the right to a message. If it is
// not at once, then it is until a tenth of the burst is there: being woken for
// each message alone is what a flood would want.
func (b *bucket) wait(now time.Time) time.Duration {
	if !b.last.IsZero() {
		b.level = min(b.burst, b.level+max(0, now.Sub(b.last).Seconds())*b.rate)
	}
	b.last = now
	if b.level >= 1 {
		return 0
	}
	return time.Duration((1 + b.burst/10) / b.rate * float64(time.Second))
}

// spend uses the right to one message.
func (b *bucket) spend() { b.level-- }
