// Package fullscreen has the whole of a terminal for a while: it draws frames
// without flicker, reads single keys, and leaves everything as it was. It knows
// nothing of what is shown.
package fullscreen

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What a terminal is told. All terminals in use understand these, and pass over
// the brackets of a frame if they do not.
//
// Reference: ctlseqs of xterm; the synchronized output mode 2026.
const (
	enter      = "\x1b[?1049h\x1b[?25l\x1b[2J" // other screen, no cursor, empty
	leave      = "\x1b[?25h\x1b[?1049l"
	beginFrame = "\x1b[?2026h\x1b[H"
	endLine    = "\x1b[K"
	endFrame   = "\x1b[J\x1b[?2026l"
)

// writeTimeout is how long a terminal that was stopped may keep us from
// noticing what else happens.
const writeTimeout = 200 * time.Millisecond

// A Screen is a terminal that is ours. It belongs to one goroutine.
type Screen struct {
	tty     *os.File // one of our own, which does not block
	saved   unix.Termios
	keys    chan string
	read    chan struct{} // closed when nobody reads keys any more
	closing chan struct{}
	signals chan os.Signal
}

// An Event is a key, or the news that the frame has to be drawn anew.
type Event struct {
	Key    string // a character, "up", "down", "pageup", "pagedown", "home" or "end"; "" if none
	Redraw bool
	News   bool      // there was something on Next's channel
	Over   os.Signal // asks us to end, or nil
	Closed bool      // the terminal has hung up
}

// Open takes the terminal that out is. It fails where there is none that can be
// opened anew.
func Open(out *os.File) (*Screen, error) {
	// The modes that we need are the terminal's, but not to block would be
	// everybody's who has the same descriptor: so have another one.
	tty, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", out.Fd()), os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open the terminal: %w", err)
	}
	s := &Screen{
		tty: tty, keys: make(chan string, 16), read: make(chan struct{}), closing: make(chan struct{}),
		signals: make(chan os.Signal, 8),
	}
	err = s.control(func(fd int) error {
		saved, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err == nil {
			s.saved = *saved
		}
		return err
	})
	if err == nil {
		err = s.take()
	}
	if err != nil {
		tty.Close()
		return nil, fmt.Errorf("cannot use the terminal: %w", err)
	}
	signal.Notify(s.signals, unix.SIGWINCH, unix.SIGTSTP, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	go s.readKeys()
	return s, nil
}

// take sets the modes and the screen. Keys that send signals still do.
func (s *Screen) take() error {
	modes := s.saved
	modes.Lflag &^= unix.ECHO | unix.ICANON
	modes.Cc[unix.VMIN], modes.Cc[unix.VTIME] = 1, 0
	if err := s.set(&modes); err != nil {
		return err
	}
	return s.write(enter)
}

func (s *Screen) giveBack() error {
	return errors.Join(s.write(leave), s.set(&s.saved))
}

func (s *Screen) set(modes *unix.Termios) error {
	return s.control(func(fd int) error { return unix.IoctlSetTermios(fd, unix.TCSETS, modes) })
}

// control calls do with the descriptor, which Fd would make a blocking one.
func (s *Screen) control(do func(fd int) error) error {
	raw, err := s.tty.SyscallConn()
	if err != nil {
		return err
	}
	var doErr error
	if err := raw.Control(func(fd uintptr) { doErr = do(int(fd)) }); err != nil {
		return err
	}
	return doErr
}

// Close leaves the terminal as it was.
func (s *Screen) Close() error {
	signal.Stop(s.signals)
	close(s.closing)
	_ = s.tty.SetReadDeadline(time.Unix(1, 0))
	<-s.read
	return errors.Join(s.giveBack(), s.tty.Close())
}

// Size returns how many rows and columns there are.
func (s *Screen) Size() (rows, columns int) {
	rows, columns = defaultRows, defaultColumns
	_ = s.control(func(fd int) error {
		size, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
		if err == nil && size.Row > 0 && size.Col > 0 {
			rows, columns = int(size.Row), int(size.Col)
		}
		return err
	})
	return rows, columns
}

// The size of a terminal that does not say.
const defaultRows, defaultColumns = 24, 80

// Draw shows lines, which fit the width, from the top of an empty screen. What
// is below the last row is left out. A terminal that takes nothing at the
// moment misses the frame.
func (s *Screen) Draw(lines []string) error {
	rows, _ := s.Size()
	var frame strings.Builder
	frame.WriteString(beginFrame)
	for i, line := range lines[:min(len(lines), rows)] {
		if i > 0 {
			frame.WriteString("\r\n")
		}
		frame.WriteString(line + endLine)
	}
	frame.WriteString(endFrame)
	return s.write(frame.String())
}

func (s *Screen) write(text string) error {
	_ = s.tty.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := s.tty.WriteString(text)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}
