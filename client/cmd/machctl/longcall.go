package main

import (
	"context"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

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
		bar := a.startProgress(title, callPatience, func() progress.State { return stateOf(*last.Load()) })
		<-over
		bar.End()
	}()
	return calledOff(ctx, call, sync.OnceFunc(func() {
		close(over)
		<-shown
	}))
}

// calledOff makes a call that its context calls off, and so does the first signal
// by which people end a command: hide has us show nothing any more then, and when
// the call has returned we end by the signal. Another one ends us at once. However
// the call ends, hide is called.
func calledOff(ctx context.Context, call func(context.Context) error, hide func()) error {
	ctx, callOff := context.WithCancel(ctx)
	defer callOff()
	signals, stop := interrupted()
	over, noticed := make(chan struct{}), make(chan os.Signal, 1)
	go func() {
		defer close(noticed)
		select {
		case s := <-signals:
			stop()
			hide()
			callOff()
			noticed <- s
		case <-over:
		}
	}()
	err := call(ctx)
	close(over)
	s, ended := <-noticed
	stop()
	hide()
	if ended {
		endBy(s.(unix.Signal))
	}
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
