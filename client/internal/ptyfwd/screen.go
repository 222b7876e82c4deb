package ptyfwd

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// The size of a terminal that nobody looks at.
const defaultRows, defaultColumns = 24, 80

// A screen is our own terminal: where we read and where we write, either of
// which may be something else. It belongs to one goroutine.
type screen struct {
	in, out *os.File // nil if it is no terminal
	same    bool     // both are one terminal

	savedIn, savedOut *unix.Termios // modes of before, nil while nothing is changed
}

func newScreen(in, out *os.File) *screen {
	s := &screen{}
	if isTerminal(in) {
		s.in = in
	}
	if isTerminal(out) {
		s.out = out
	}
	if s.in != nil && s.out != nil {
		a, errA := in.Stat()
		b, errB := out.Stat()
		s.same = errA == nil && errB == nil && os.SameFile(a, b)
	}
	return s
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// raw makes the terminal pass everything through in both directions.
func (s *screen) raw() error {
	if s.in != nil && s.savedIn == nil {
		saved, err := change(s.in, func(t *unix.Termios) { rawInput(t, s.same) })
		if err != nil {
			return err
		}
		s.savedIn = saved
	}
	if s.out != nil && !s.same && s.savedOut == nil {
		saved, err := change(s.out, func(t *unix.Termios) { t.Oflag &^= unix.OPOST })
		if err != nil {
			return err
		}
		s.savedOut = saved
	}
	return nil
}

// rawInput is cfmakeraw(3), which leaves the output modes of another
// terminal alone.
func rawInput(t *unix.Termios, output bool) {
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	if output {
		t.Oflag &^= unix.OPOST
	}
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag &^= unix.CSIZE | unix.PARENB
	t.Cflag |= unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
}

// change applies edit to f's modes and returns those of before.
func change(f *os.File, edit func(*unix.Termios)) (*unix.Termios, error) {
	saved, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("cannot read the terminal's modes: %w", err)
	}
	modes := *saved
	edit(&modes)
	if err := unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, &modes); err != nil {
		return nil, fmt.Errorf("cannot set the terminal's modes: %w", err)
	}
	return saved, nil
}

// restore undoes raw. A terminal that is gone has nothing to restore.
func (s *screen) restore() {
	if s.savedIn != nil {
		_ = unix.IoctlSetTermios(int(s.in.Fd()), unix.TCSETS, s.savedIn)
		s.savedIn = nil
	}
	if s.savedOut != nil {
		_ = unix.IoctlSetTermios(int(s.out.Fd()), unix.TCSETS, s.savedOut)
		s.savedOut = nil
	}
}

// copySize gives the other side the size of our output, by which the kernel
// tells whoever runs there.
func (s *screen) copySize(master int) {
	_ = unix.IoctlSetWinsize(master, unix.TIOCSWINSZ, sizeOf(s.out))
}

// Size returns the size that the other side of a session with this output has.
func Size(out *os.File) (rows, columns uint16) {
	if !isTerminal(out) {
		out = nil
	}
	size := sizeOf(out)
	return size.Row, size.Col
}

func sizeOf(terminal *os.File) *unix.Winsize {
	if terminal != nil {
		if ours, err := unix.IoctlGetWinsize(int(terminal.Fd()), unix.TIOCGWINSZ); err == nil {
			return ours
		}
	}
	return &unix.Winsize{Row: fromEnv("LINES", defaultRows), Col: fromEnv("COLUMNS", defaultColumns)}
}

func fromEnv(name string, otherwise uint16) uint16 {
	n, err := strconv.ParseUint(os.Getenv(name), 10, 16)
	if err != nil || n == 0 {
		return otherwise
	}
	return uint16(n)
}
