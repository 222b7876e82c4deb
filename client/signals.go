package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machine1"
)

const (
	busDriver        = "org.freedesktop.DBus"
	nameOwnerChanged = busDriver + ".NameOwnerChanged"
	propertiesGet    = "org.freedesktop.DBus.Properties.Get"
	propertiesGetAll = "org.freedesktop.DBus.Properties.GetAll"
)

// A wanted signal is named by interface and member, and further by what it
// must carry; "" is anything.
type wanted struct {
	signal string
	path   dbus.ObjectPath
	arg0   string
}

func (w wanted) rule(sender string) string {
	dot := strings.LastIndexByte(w.signal, '.')
	rule := fmt.Sprintf("type='signal',sender='%s',interface='%s',member='%s'", sender, w.signal[:dot], w.signal[dot+1:])
	if w.path != "" {
		rule += fmt.Sprintf(",path='%s'", w.path)
	}
	if w.arg0 != "" {
		rule += fmt.Sprintf(",arg0='%s'", w.arg0)
	}
	return rule
}

// matches reports whether signal is one: a connection gets the signals of all
// its subscriptions.
func (w wanted) matches(signal *dbus.Signal) bool {
	if signal.Name != w.signal || w.path != "" && signal.Path != w.path {
		return false
	}
	if w.arg0 == "" {
		return true
	}
	return len(signal.Body) > 0 && signal.Body[0] == w.arg0
}

// A subscription is signals of the owner of one bus name, in order, with the
// changes of the owner among them. It belongs to one goroutine at a time.
type subscription struct {
	conn  *dbus.Conn
	name  string
	owner string // unique name, "" while nobody owns the name
	want  []wanted
	rules []string
	ch    chan *dbus.Signal
	over  chan struct{} // closed by close

	tellsLoss bool // of the owner too, without a new one
}

// A notice is one signal, or the news that another process owns the name now.
type notice struct {
	*dbus.Signal
	newOwner bool
}

// subscribe asks for signals of name's owner. Once it has returned, nothing
// that happens is missed.
func (c *Client) subscribe(ctx context.Context, name string, want ...wanted) (*subscription, error) {
	s := &subscription{conn: c.conn, name: name, want: want, ch: make(chan *dbus.Signal, 16), over: make(chan struct{})}
	c.conn.Signal(s.ch)
	rules := []string{wanted{signal: nameOwnerChanged, arg0: name}.rule(busDriver)}
	for _, w := range want {
		rules = append(rules, w.rule(name))
	}
	for _, rule := range rules {
		if err := c.conn.BusObject().CallWithContext(ctx, busDriver+".AddMatch", 0, rule).Err; err != nil {
			s.close()
			return nil, fmt.Errorf("cannot subscribe to %s: %w", name, c.explain(ctx, busDriver, machine1.FromBus(err)))
		}
		s.rules = append(s.rules, rule)
	}
	// A signal that somebody sends to us alone needs no match rule to arrive,
	// so senders are compared with the owner.
	err := c.conn.BusObject().CallWithContext(ctx, busDriver+".GetNameOwner", 0, name).Store(&s.owner)
	if err = machine1.FromBus(err); err != nil && !errors.Is(err, machine1.ErrServiceUnknown) {
		s.close()
		return nil, fmt.Errorf("cannot subscribe to %s: %w", name, c.explain(ctx, busDriver, err))
	}
	return s, nil
}

// next waits for the next notice. ErrDisconnected says that the bus is gone, and
// os.ErrClosed that the subscription was closed.
func (s *subscription) next(ctx context.Context) (notice, error) {
	for {
		select {
		case <-ctx.Done():
			return notice{}, ctx.Err()
		case <-s.over:
			return notice{}, os.ErrClosed
		case signal, ok := <-s.ch:
			if !ok {
				return notice{}, fmt.Errorf("the bus connection was lost: %w", machine1.ErrDisconnected)
			}
			if n, ok := s.take(signal); ok {
				return n, nil
			}
		}
	}
}

func (s *subscription) take(signal *dbus.Signal) (notice, bool) {
	if signal.Sender == busDriver && signal.Name == nameOwnerChanged {
		var name, before, after string
		if dbus.Store(signal.Body, &name, &before, &after) != nil || name != s.name {
			return notice{}, false
		}
		s.owner = after
		return notice{signal, true}, after != "" || s.tellsLoss
	}
	if s.owner == "" || signal.Sender != s.owner {
		return notice{}, false
	}
	return notice{Signal: signal}, slices.ContainsFunc(s.want, func(w wanted) bool { return w.matches(signal) })
}

// close ends the subscription and does not wait until the bus knows. Once is enough.
func (s *subscription) close() {
	select {
	case <-s.over:
		return
	default:
		close(s.over)
	}
	for _, rule := range s.rules {
		s.conn.BusObject().Go(busDriver+".RemoveMatch", dbus.FlagNoReplyExpected, nil, rule)
	}
	s.conn.RemoveSignal(s.ch)
}
