// Package progress shows how far something is that takes long: a line that is
// redrawn in place on a terminal, and a line now and then elsewhere. It knows
// nothing of what takes long.
package progress

import (
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Unknown is a number of bytes or things that nobody can tell.
const Unknown = ^uint64(0)

// A State is how far something is. What is not known is left at the value of
// Nothing.
type State struct {
	Fraction    float64 // from 0 to 1; negative if unknown
	Done, Total uint64  // bytes
	Count, Of   uint64  // things, such as files
	Things      string  // what Count counts, such as "files"
}

// Nothing is a State of which nothing is known.
var Nothing = State{Fraction: -1, Done: Unknown, Total: Unknown, Count: Unknown, Of: Unknown}

// fraction is how much of all is done, negative if nobody can tell. What the
// bytes say is more exact than what is said of them.
func (s State) fraction() float64 {
	f := s.Fraction
	switch {
	case s.Done != Unknown && s.Total != Unknown && s.Total > 0:
		f = float64(s.Done) / float64(s.Total)
	case f < 0 && s.Count != Unknown && s.Of != Unknown && s.Of > 0:
		f = float64(s.Count) / float64(s.Of)
	}
	return min(f, 1)
}

// An Output is where progress is shown, and how.
type Output struct {
	File     *os.File
	Quiet    bool // show nothing
	Unicode  bool // the locale has more than ASCII
	Colour   bool
	Prefix   string        // of lines that are not redrawn
	Patience time.Duration // show nothing of what takes no longer

	Size func(bytes uint64) string  // writes a number of bytes
	Span func(time.Duration) string // writes a length of time
}

// How often things happen.
const (
	redrawEvery = 100 * time.Millisecond
	lineEvery   = 30 * time.Second // where nobody can tell how much there is
	lineSteps   = 10               // lines from 0 to 100 %
)

// A Bar is one progress that is shown. A nil Bar shows nothing.
type Bar struct {
	out   Output
	title string
	state func() State
	now   func() time.Time

	terminal bool
	signals  bool // the terminal may show progress by itself, elsewhere
	stop     chan struct{}
	stopped  chan struct{}

	mu     sync.Mutex // guards what is written, and the following
	begun  time.Time
	rate   rate
	ended  bool
	drawn  bool // there is a line of ours on the terminal
	width  int  // of the terminal when it was drawn
	told   int  // what was last signalled to the terminal
	step   int  // of lines
	lined  time.Time
	frames int
}

// Start shows how far something is, which is called title, from now until End.
// state is asked again and again, by a goroutine of its own.
func Start(out Output, title string, state func() State) *Bar {
	if out.Quiet {
		return nil
	}
	b := newBar(out, title, state, time.Now)
	go b.run()
	return b
}

func newBar(out Output, title string, state func() State, now func() time.Time) *Bar {
	term := os.Getenv("TERM")
	terminal := term != "" && term != "dumb" && isTerminal(out.File)
	b := &Bar{out: out, title: title, state: state, now: now, terminal: terminal,
		signals: terminal && term != "linux",
		stop:    make(chan struct{}), stopped: make(chan struct{}), told: notTold, begun: now()}
	b.lined = b.begun
	return b
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

func (b *Bar) run() {
	defer close(b.stopped)
	ticker := time.NewTicker(redrawEvery)
	defer ticker.Stop()
	for {
		select {
		case <-b.stop:
			return
		case <-ticker.C:
			b.tick()
		}
	}
}

// tick shows how far it is now.
func (b *Bar) tick() {
	s := b.state()
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	b.rate.add(now, s)
	if b.ended || now.Sub(b.begun) < b.out.Patience {
		return
	}
	if b.terminal {
		b.draw(s, now)
		return
	}
	b.line(s, now)
}

// draw redraws the line on the terminal, which may have another width by now.
func (b *Bar) draw(s State, now time.Time) {
	text := "\r"
	if b.drawn {
		text = b.begin()
	}
	b.frames++
	b.drawn, b.width = true, b.columns()
	// The last column stays free: a cursor behind it may begin a new line. Nor
	// does a line that is too long, as the terminal has just become smaller.
	b.write(oneLine + b.signal(s) + text + b.layout(s, b.width-1) + clearRest + "\r" + manyLines)
}

const (
	oneLine    = "\x1b[?7l" // what does not fit is cut off
	manyLines  = "\x1b[?7h"
	clearRest  = "\x1b[K"
	clearBelow = "\x1b[J"
)

// begin returns what goes to the beginning of the line that is on the terminal,
// where the cursor is since it was drawn. A terminal that has become smaller may
// have made several lines of it.
func (b *Bar) begin() string {
	if b.columns() != b.width {
		return "\r" + clearBelow
	}
	return "\r"
}

// columns is how wide the terminal is now.
func (b *Bar) columns() int {
	if size, err := unix.IoctlGetWinsize(int(b.out.File.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
		return int(size.Col)
	}
	return 80
}

// line prints a line for each tenth, and where there are none once in a while.
func (b *Bar) line(s State, now time.Time) {
	if f := s.fraction(); f >= 0 {
		step := int(f * lineSteps)
		if step <= b.step {
			return
		}
		b.step = step
	} else if now.Sub(b.lined) < lineEvery {
		return
	}
	b.lined = now
	b.write(b.out.Prefix + b.plain(s) + "\n")
}

// Log prints a line above the progress.
func (b *Bar) Log(line string) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.drawn {
		line = b.begin() + clearRest + line
		b.drawn = false
	}
	b.write(line + "\n")
}

// End takes the progress away. Nothing of it is left on the terminal, wherever
// that shows it. It may be called more than once.
func (b *Bar) End() {
	if b == nil {
		return
	}
	b.mu.Lock()
	if !b.ended {
		b.ended = true
		close(b.stop)
		text := ""
		if b.drawn {
			text = b.begin() + clearRest
		}
		if b.told != notTold {
			text += fmt.Sprintf(signalFormat, signalNone, 0)
		}
		if text != "" {
			b.write(text)
		}
	}
	b.mu.Unlock()
	<-b.stopped
}

// write writes in one piece, so that what others write is not torn apart. That
// it cannot be shown stops nothing.
func (b *Bar) write(text string) { _, _ = b.out.File.WriteString(text) }

// OSC 9;4 has the terminal show progress in its frame or in the bar of tasks.
const (
	signalFormat  = "\x1b]9;4;%d;%d\x1b\\"
	signalNone    = 0
	signalPercent = 1
	signalBusy    = 3

	notTold = -1
	busy    = 101 // of told: nobody knows the percentage
)

// signal tells the terminal, if there is something new.
func (b *Bar) signal(s State) string {
	if !b.signals {
		return ""
	}
	percent, kind := busy, signalBusy
	if f := s.fraction(); f >= 0 {
		percent, kind = int(f*100), signalPercent
	}
	if percent == b.told {
		return ""
	}
	b.told = percent
	if kind == signalBusy {
		return fmt.Sprintf(signalFormat, kind, 0)
	}
	return fmt.Sprintf(signalFormat, kind, percent)
}
