package launch

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/task"
	"github.com/machd/machd/pkg/machine1"
)

// A container whose unit is stopped while it boots does not hear of it:
// systemd-nspawn asks its init once, which has no ear for that yet, and then
// waits for as long as the unit may take to stop, two minutes. So a systemd is
// asked again, whoever stops the unit, until it is gone. One that heard does not
// mind.
const (
	insistEvery = 500 * time.Millisecond

	// signalHalt is what systemd-nspawn asks a systemd with: SIGRTMIN+3.
	signalHalt = unix.Signal(37)
)

// insistence are the containers that may have to be asked again.
type insistence struct {
	mu      sync.Mutex
	carried map[string]string // machines, by unit
	changed chan string       // units that may be stopping
	looks   task.Looks        // at them
}

func newInsistence() *insistence {
	return &insistence{carried: map[string]string{}, changed: make(chan string, 256)}
}

// machineEvent does not block.
func (i *insistence) machineEvent(e machine.Event) {
	m := e.Machine
	if m.Service != nspawn || m.Class != machine1.ClassContainer || m.Unit == "" || m.Leader == nil {
		return
	}
	i.mu.Lock()
	if e.Added {
		i.carried[m.Unit] = m.Name
	} else if i.carried[m.Unit] == m.Name {
		delete(i.carried, m.Unit)
	}
	i.mu.Unlock()
	if e.Added {
		i.unitStops(m.Unit) // it may have been told to before
	}
}

// unitStops is told that a unit may be being stopped. It does not block.
func (i *insistence) unitStops(unit string) {
	if _, ok := i.machineOf(unit); !ok || !i.looks.Begin(unit) {
		return
	}
	select {
	case i.changed <- unit:
	default:
		i.looks.Drop(unit)
	}
}

func (i *insistence) machineOf(unit string) (name string, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	name, ok = i.carried[unit]
	return name, ok
}

// insist asks containers again whose units are being stopped, until ctx ends.
func (l *Launcher) insist(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case unit := <-l.insistence.changed:
			wg.Go(func() {
				for again := true; again && ctx.Err() == nil; again = !l.insistence.looks.End(unit) {
					l.insistOn(ctx, unit)
				}
			})
		}
	}
}

// insistOn returns when the unit is not being stopped, or its machine is gone:
// the next one of that unit is not meant.
func (l *Launcher) insistOn(ctx context.Context, unit string) {
	name, ok := l.insistence.machineOf(unit)
	if !ok {
		return
	}
	m, ok := l.cfg.Machines.View().Get(name)
	if !ok || m.Unit != unit || m.Leader == nil {
		return
	}
	for l.isThere(m) {
		state, err := l.cfg.Units.ActiveState(ctx, unit)
		if err != nil || state != "deactivating" {
			return
		}
		// nspawn has only just asked.
		select {
		case <-ctx.Done():
			return
		case <-time.After(insistEvery):
		}
		// Another init would take it for something else, or end by it.
		if heard, err := m.Leader.Heard(); err == nil && heard.Has(signalHalt) && heard.Has(signalPowerOff) {
			_ = m.Leader.Signal(signalHalt)
		}
	}
}
