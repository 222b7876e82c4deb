package vtable

// Pulse returns how many calls have come so far, and whether one of them has
// not been answered yet.
func (s *Server) Pulse() (calls uint64, busy bool) { return s.lanes.pulse() }

func (ls *lanes) pulse() (calls uint64, busy bool) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return ls.entered, len(ls.senders) > 0
}
