package progress

import "time"

// window is what a rate is taken of: long enough not to jump, short enough to
// tell of now.
const window = 8 * time.Second

// settled is how long something must go on before its speed means anything.
const settled = time.Second

type sample struct {
	at       time.Time
	bytes    uint64
	fraction float64
}

// A rate is how fast something is, by what the last seconds have shown.
type rate struct{ samples []sample }

func (r *rate) add(now time.Time, s State) {
	r.samples = append(r.samples, sample{now, s.Done, s.fraction()})
	for len(r.samples) > 2 && now.Sub(r.samples[1].at) >= window {
		r.samples = r.samples[1:]
	}
}

func (r *rate) span() (first, last sample, d time.Duration) {
	if len(r.samples) == 0 {
		return sample{}, sample{}, 0
	}
	first, last = r.samples[0], r.samples[len(r.samples)-1]
	return first, last, last.at.Sub(first.at)
}

// perSecond returns bytes in a second.
func (r *rate) perSecond() (bytes uint64, ok bool) {
	first, last, d := r.span()
	if d < settled || first.bytes == Unknown || last.bytes == Unknown || last.bytes <= first.bytes {
		return 0, false
	}
	return uint64(float64(last.bytes-first.bytes) / d.Seconds()), true
}

// left returns how long it takes from now on, if it goes on like this.
func (r *rate) left() (d time.Duration, ok bool) {
	first, last, took := r.span()
	gained := last.fraction - first.fraction
	if took < settled || first.fraction < 0 || gained <= 0 {
		return 0, false
	}
	seconds := (1 - last.fraction) / gained * took.Seconds()
	const tooLong = 100 * 24 * 3600 // says nothing, and may not fit a Duration
	if seconds > tooLong {
		return 0, false
	}
	return time.Duration(seconds * float64(time.Second)), true
}
