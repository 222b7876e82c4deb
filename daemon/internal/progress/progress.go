// Package progress tells whoever wants to know how far something has come that
// takes long. What does the work finds a Meter in its context, as far down as it
// may be, and knows nobody who reads it.
package progress

import (
	"context"
	"sync/atomic"
	"time"
)

// interval is how often a listener is told.
const interval = 100 * time.Millisecond

// A Report is how far something has come. What is not known is zero.
type Report struct {
	Bytes, Files           uint64 // done
	TotalBytes, TotalFiles uint64 // to be done in all, what is done included
}

// A Meter counts what is done. A nil Meter counts nothing. It may be used from
// several goroutines.
type Meter struct{ bytes, files, totalBytes, totalFiles atomic.Uint64 }

// Add counts bytes and files as done.
func (m *Meter) Add(bytes, files uint64) {
	if m == nil {
		return
	}
	m.bytes.Add(bytes)
	m.files.Add(files)
}

// Expect says how much there is to do in all; zero if nobody knows.
func (m *Meter) Expect(bytes, files uint64) {
	if m == nil {
		return
	}
	m.totalBytes.Store(bytes)
	m.totalFiles.Store(files)
}

// Report returns how far it is.
func (m *Meter) Report() Report {
	if m == nil {
		return Report{}
	}
	return Report{
		Bytes: m.bytes.Load(), Files: m.files.Load(),
		TotalBytes: m.totalBytes.Load(), TotalFiles: m.totalFiles.Load(),
	}
}

type key struct{}

// Of returns the meter that what is done with ctx is counted by; nil if nobody
// wants to know.
func Of(ctx context.Context) *Meter {
	m, _ := ctx.Value(key{}).(*Meter)
	return m
}

// With returns a context in which m counts, for what does not end with the context
// that m is of. It is ctx if there is no m.
func With(ctx context.Context, m *Meter) context.Context {
	if m == nil {
		return ctx
	}
	return context.WithValue(ctx, key{}, m)
}

// Watch returns a context with a meter, and has tell called now and then, with
// whether there is anything new since it was told last. An error of tell ends the
// context, with that cause: nobody waits for the outcome any more. It may take
// its time; nobody waits for it but stop, which is to be called at the end. Then
// tell is called a last time if there is something new.
func Watch(ctx context.Context, tell func(r Report, changed bool) error) (_ context.Context, stop func()) {
	m := new(Meter)
	ctx, cancel := context.WithCancelCause(With(ctx, m))
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		var last Report
		for ended := false; !ended; {
			select {
			case <-over:
				ended = true
			case <-ticker.C:
			}
			r := m.Report()
			if err := tell(r, r != last); err != nil {
				cancel(err)
				return
			}
			last = r
		}
	}()
	return ctx, func() {
		close(over)
		<-done
		cancel(nil)
	}
}
