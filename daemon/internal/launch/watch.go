package launch

import "sync"

// watches are those who wait for something to become of a unit or a machine.
// They are told that it may have, never what: they look for themselves.
type watches struct {
	mu     sync.Mutex
	byName map[string]map[chan struct{}]struct{}
}

// add returns a channel, with room for one, that gets a value after anything
// has happened to one of the units and machines of these names.
func (w *watches) add(names ...string) (changed <-chan struct{}, stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.byName == nil {
		w.byName = map[string]map[chan struct{}]struct{}{}
	}
	c := make(chan struct{}, 1)
	for _, name := range names {
		if w.byName[name] == nil {
			w.byName[name] = map[chan struct{}]struct{}{}
		}
		w.byName[name][c] = struct{}{}
	}
	return c, func() { w.remove(c, names) }
}

func (w *watches) remove(c chan struct{}, names []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range names {
		delete(w.byName[name], c)
		if len(w.byName[name]) == 0 {
			delete(w.byName, name)
		}
	}
}

func (w *watches) wake(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ring(w.byName[name])
}

func (w *watches) wakeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, channels := range w.byName {
		ring(channels)
	}
}

func ring(channels map[chan struct{}]struct{}) {
	for c := range channels {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}
