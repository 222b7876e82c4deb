package fullscreen

import (
	"time"

	"golang.org/x/sys/unix"
)

// Next waits until something happens, or for so long. There is nothing on news
// until the frame has to be made anew.
func (s *Screen) Next(d time.Duration, news <-chan struct{}) Event {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case key, ok := <-s.keys:
		return Event{Key: key, Closed: !ok}
	case <-timer.C:
		return Event{}
	case <-news:
		return Event{News: true}
	case sig := <-s.signals:
		switch sig {
		case unix.SIGWINCH:
			return Event{Redraw: true}
		case unix.SIGTSTP:
			s.pause()
			return Event{Redraw: true}
		}
		return Event{Over: sig}
	}
}

// pause stops this process as the user asked for, and returns when he wants it
// back.
func (s *Screen) pause() {
	_ = s.giveBack()
	_ = unix.Kill(unix.Getpid(), unix.SIGSTOP)
	_ = s.take()
}

// readKeys reads until the terminal hangs up or the screen is closed.
func (s *Screen) readKeys() {
	defer close(s.read)
	defer close(s.keys)
	buffer := make([]byte, 64)
	for {
		n, err := s.tty.Read(buffer)
		if err != nil {
			return
		}
		for _, key := range keysOf(string(buffer[:n])) {
			select {
			case s.keys <- key:
			case <-s.closing:
				return
			}
		}
	}
}
