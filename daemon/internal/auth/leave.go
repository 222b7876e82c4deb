package auth

import (
	"context"
	"fmt"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
)

var errCallerLeft = fmt.Errorf("the caller has left the bus: %w", machine1.ErrDisconnected)

// Attend is BusCaller that also returns a context that ends when the caller
// leaves the bus, and what releases it: nobody else would get what is made for
// him. Nothing is to be released if it fails.
func (a *Authority) Attend(ctx context.Context, sender string) (context.Context, Caller, func(), error) {
	attended, release, err := a.whileConnected(ctx, sender)
	if err != nil {
		return nil, Caller{}, nil, err
	}
	// Who has left before he was watched is not known any more. The bus's answer,
	// which has a descriptor, is waited for if he leaves now.
	c, err := a.BusCaller(ctx, sender)
	if err != nil {
		release()
		return nil, Caller{}, nil, err
	}
	return attended, c, func() {
		c.Close()
		release()
	}, nil
}

// whileCalling returns a context that ends when c leaves the bus, and what
// releases it. Of a peer, only whoever serves him knows.
func (a *Authority) whileCalling(ctx context.Context, c Caller) (context.Context, func(), error) {
	if c.sender == "" {
		return ctx, func() {}, nil
	}
	return a.whileConnected(ctx, c.sender)
}

func (a *Authority) whileConnected(ctx context.Context, sender string) (context.Context, func(), error) {
	match := "type='signal',sender='" + busDaemon.Name + "',interface='" + busDaemon.Name +
		"',member='NameOwnerChanged',arg0='" + sender + "'"
	signals := make(chan *dbus.Signal)
	a.conn.Signal(signals)
	if err := bus.Call(ctx, a.conn, busDaemon, busDaemon.Name+".AddMatch", false, []any{match}); err != nil {
		a.conn.RemoveSignal(signals)
		return nil, nil, fmt.Errorf("cannot watch %s: %w", sender, err)
	}
	watched, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		awaitLeave(watched, signals, sender, cancel)
	}()
	return watched, func() {
		cancel(nil)
		<-ended
		a.conn.RemoveSignal(signals)
		a.send(ctx, busDaemon, busDaemon.Name+".RemoveMatch", match)
	}, nil
}

func awaitLeave(ctx context.Context, signals <-chan *dbus.Signal, sender string, leave func(error)) {
	for {
		select {
		case <-ctx.Done():
			return
		case s, ok := <-signals:
			if !ok || saysLeft(s, sender) {
				leave(errCallerLeft)
				return
			}
		}
	}
}

func saysLeft(s *dbus.Signal, sender string) bool {
	return s.Sender == busDaemon.Name && s.Name == busDaemon.Name+".NameOwnerChanged" &&
		len(s.Body) == 3 && s.Body[0] == sender && s.Body[2] == ""
}

// send makes a call whose reply is of no interest. It is for cleaning up, so
// the end of ctx does not matter.
func (a *Authority) send(ctx context.Context, to bus.Target, member, arg string) {
	if _, err := bus.Go(context.WithoutCancel(ctx), a.conn, to, member, false, []any{arg}); err != nil {
		a.log.Debug("cannot clean up after a question", "member", member, "error", err)
	}
}
