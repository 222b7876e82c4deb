package client

import (
	"context"
	"iter"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

const (
	machineNew     = machine1.ManagerInterface + ".MachineNew"
	machineRemoved = machine1.ManagerInterface + ".MachineRemoved"
	machineReady   = machd.ManagerInterface + ".MachineReady"
	machineFailed  = machd.ManagerInterface + ".MachineFailed"
	machineChanged = machd.ManagerInterface + ".MachineChanged"
)

// An EventKind says what happened to a machine.
type EventKind int

// The kinds of events.
const (
	Present EventKind = iota // it was there when the watch began
	Added
	Removed
	Ready   // it can be used; only machd tells, of machines that it starts
	Failed  // it could not be started; likewise
	Changed // it has other ports than before; likewise
)

// String returns the kind as a word.
func (k EventKind) String() string {
	return [...]string{"present", "added", "removed", "ready", "failed", "changed"}[k]
}

// An Event is one machine that is there, comes or goes.
type Event struct {
	Kind EventKind
	Name string
	Path dbus.ObjectPath // "" for Failed

	Unit, Reason string // of Failed
}

// Watch yields the machines there are and then every change, without a gap
// between the two and in order. A daemon that is restarted, or replaced by
// another, goes unnoticed but for what changed meanwhile; of a machine that
// ended then and came again under its name nothing is told. The sequence ends
// with ctx or the loop, and leaves nothing behind; it ends with an error,
// ErrDisconnected, when the bus is gone.
//
// No daemon tells of properties that change: those of a machine are the same
// for all its life, but for its State. Changed is about its ports.
//
// Reference: org.freedesktop.machine1(5), MachineNew and MachineRemoved;
// docs/api.md, MachineReady, MachineFailed and MachineChanged.
func (c *Client) Watch(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		sub, err := c.subscribe(ctx, machine1.BusName,
			wanted{signal: machineNew, path: machine1.ObjectPath},
			wanted{signal: machineRemoved, path: machine1.ObjectPath},
			wanted{signal: machineReady, path: machine1.ObjectPath},
			wanted{signal: machineFailed, path: machine1.ObjectPath},
			wanted{signal: machineChanged, path: machine1.ObjectPath})
		if err != nil {
			if ctx.Err() == nil {
				yield(Event{}, err)
			}
			return
		}
		defer sub.close()
		w := watch{c: c, sub: sub, known: map[string]dbus.ObjectPath{}, yield: yield}
		if err := w.run(ctx); err != nil && ctx.Err() == nil {
			yield(Event{}, err)
		}
	}
}

type watch struct {
	c     *Client
	sub   *subscription
	known map[string]dbus.ObjectPath
	yield func(Event, error) bool
}

// run returns nil when the consumer has had enough.
func (w *watch) run(ctx context.Context) error {
	if goOn, err := w.compare(ctx, Present); err != nil || !goOn {
		return err
	}
	for {
		n, err := w.sub.next(ctx)
		if err != nil {
			return err
		}
		if n.newOwner {
			if goOn, err := w.compare(ctx, Added); err != nil || !goOn {
				return err
			}
			continue
		}
		if e, ok := eventOf(n.Signal); ok && !w.tell(e) {
			return nil
		}
	}
}

func eventOf(s *dbus.Signal) (e Event, ok bool) {
	switch s.Name {
	case machineNew:
		e.Kind = Added
	case machineRemoved:
		e.Kind = Removed
	case machineReady:
		e.Kind = Ready
	case machineChanged:
		e.Kind = Changed
	case machineFailed:
		e.Kind = Failed
		return e, dbus.Store(s.Body, &e.Name, &e.Unit, &e.Reason) == nil
	}
	return e, dbus.Store(s.Body, &e.Name, &e.Path) == nil
}

// compare lists the machines and tells what differs from what is known; those
// that are new are told as kind.
func (w *watch) compare(ctx context.Context, kind EventKind) (goOn bool, err error) {
	list, err := w.c.List(ctx)
	if err != nil {
		return false, err
	}
	there := map[string]bool{}
	for _, m := range list {
		there[m.Name] = true
	}
	for name, path := range w.known {
		if !there[name] && !w.tell(Event{Kind: Removed, Name: name, Path: path}) {
			return false, nil
		}
	}
	for _, m := range list {
		if !w.tell(Event{Kind: kind, Name: m.Name, Path: m.Path}) {
			return false, nil
		}
	}
	return true, nil
}

// tell yields e unless it is no news: a signal may have been sent before the
// list that holds the same change.
func (w *watch) tell(e Event) (goOn bool) {
	if e.Kind == Ready || e.Kind == Failed || e.Kind == Changed {
		return w.yield(e, nil)
	}
	_, known := w.known[e.Name]
	if known == (e.Kind != Removed) {
		return true
	}
	if known {
		delete(w.known, e.Name)
	} else {
		w.known[e.Name] = e.Path
	}
	return w.yield(e, nil)
}
