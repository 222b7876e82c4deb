package task

import "sync"

// Looks see to it that one look at a thing goes on at a time, and that nothing
// is missed: who comes while one does has it repeated. The zero Looks is ready,
// and safe for concurrent use.
type Looks struct {
	mu    sync.Mutex
	going map[string]bool // by name; true: look again
}

// Begin reports whether the caller is to look at the thing called name, until
// End says that it is over.
func (l *Looks) Begin(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, busy := l.going[name]; busy {
		l.going[name] = true
		return false
	}
	if l.going == nil {
		l.going = map[string]bool{}
	}
	l.going[name] = false
	return true
}

// End reports whether the look is over; if not, one more is due.
func (l *Looks) End(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.going[name] {
		l.going[name] = false
		return false
	}
	delete(l.going, name)
	return true
}

// Drop takes back Begin, for a look that cannot be had.
func (l *Looks) Drop(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.going, name)
}
