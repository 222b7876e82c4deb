package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/machd/machd/client"
	"github.com/machd/machd/client/internal/progress"
)

// callPatience is how long a call takes before it is worth showing how far it is.
const callPatience = time.Second

// showing makes a call that may take long, and shows how far it is if the daemon
// tells. Whoever ends us calls it off. Under the name machinectl nothing is shown.
func (a *app) showing(ctx context.Context, title string, call func(context.Context) error) error {
	if a.stock {
		return call(ctx)
	}
	var last atomic.Pointer[client.Progress]
	first, over, shown := make(chan struct{}), make(chan struct{}), make(chan struct{})
	begin := sync.OnceFunc(func() { close(first) })
	ctx = client.WithProgress(ctx, func(p client.Progress) {
		last.Store(&p)
		begin()
	})
	go func() {
		defer close(shown)
		select {
		case <-first:
		case <-over: // it was quick, or the daemon does not tell
			return
		}
		_ = a.withProgress(title, callPatience, func() progress.State { return stateOf(*last.Load()) }, func() error {
			<-over
			return nil
		})
	}()
	err := call(ctx)
	close(over)
	<-shown
	return err
}

// stateOf is how a progress is shown: by bytes where there are such.
func stateOf(p client.Progress) progress.State {
	s := progress.Nothing
	s.Count, s.Things = p.Files, "files"
	if p.TotalFiles > 0 {
		s.Of = p.TotalFiles
	}
	if p.Bytes > 0 {
		s.Done = p.Bytes
	}
	if p.TotalBytes > 0 {
		s.Total = p.TotalBytes
	}
	return s
}
