package vtable

import (
	"errors"
	"runtime"
	"time"

	"github.com/machd/machd/daemon/internal/wire"
)

// yieldAfter is how long the reader keeps its processor at most. After 10 ms
// Go's monitor begins to take it away in each system call, and wakes up every
// 20 µs to do so, which costs more than the calls.
const yieldAfter = 4 * time.Millisecond

// read handles what comes until the connection ends.
func (s *Server) read() error {
	yielded := time.Now()
	for {
		// Once this thread waits, it takes a while until another one looks after
		// the calls that were handed over. With nobody to run, yielding would wake
		// one for nothing.
		if s.conn.Buffered() == 0 && (s.handed || time.Since(yielded) > yieldAfter) {
			runtime.Gosched()
			s.handed = false
			yielded = time.Now()
		}
		m, err := s.conn.Read()
		if err != nil {
			return err
		}
		s.handle(m)
	}
}

// handle takes m over. The caller holds reading.
func (s *Server) handle(m *wire.Message) {
	switch m.Type {
	case wire.TypeCall:
		s.accept(m)
	case wire.TypeReply, wire.TypeError:
		m.Close()
		s.answer(m)
	case wire.TypeSignal:
		m.Close()
		s.checkNameLost(m)
	default:
		m.Close()
	}
}

// answer passes the bus's reply to a call of ours on to who waits for it.
func (s *Server) answer(m *wire.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if answer := s.pending[m.ReplySerial]; answer != nil && m.Sender == wire.BusName {
		delete(s.pending, m.ReplySerial)
		answer <- m
	}
}

// accept takes a call over, or refuses it. At the end it does neither: the bus
// tells the caller when we are gone.
func (s *Server) accept(m *wire.Message) {
	if !s.serving {
		s.acceptEarly(m)
		return
	}
	here := s.answersHere(m)
	s.handed = s.handed || !here
	err := s.lanes.accept(m, here)
	if err == nil {
		return
	}
	m.Close()
	if errors.Is(err, errCrowded) {
		s.dispatcher.refuse(m, err)
		s.conn.Wake()
		s.conn.WaitFull() // refusals must not pile up, either
	}
}

// answersHere reports whether the one who reads the connection is to answer m
// himself. That saves waking another thread, which takes longer than all the
// rest. He does it only for one call that came alone and waits for nothing: of
// several, one could be long, and the others from somebody else.
func (s *Server) answersHere(m *wire.Message) bool {
	return s.conn.Buffered() == 0 && !s.conn.Crowded() && !s.cfg.Tree.Waits(m.Path)
}

// acceptEarly keeps a call until Run.
func (s *Server) acceptEarly(m *wire.Message) {
	if len(s.early) < maxEarly {
		s.early = append(s.early, m)
		return
	}
	m.Close()
	s.dispatcher.refuse(m, errCrowded)
	s.conn.Wake()
}

func (s *Server) checkNameLost(m *wire.Message) {
	if m.Sender != wire.BusName || m.Member != "NameLost" || m.Signature != "s" {
		return
	}
	var d wire.Decoder
	d.Reset(m)
	name := d.Text()
	s.mu.Lock()
	owned := s.owned[name]
	s.mu.Unlock()
	if !owned {
		return
	}
	select {
	case s.nameLost <- name:
	default:
	}
}
