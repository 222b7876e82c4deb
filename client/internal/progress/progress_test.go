package progress

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/mattn/go-runewidth"

	"github.com/machd/machd/client/internal/columns/columnstest"
)

func size(bytes uint64) string { return fmt.Sprintf("%dB", bytes) }

func span(d time.Duration) string { return d.Round(time.Second).String() }

// A world is a bar whose time is the test's, and nobody but the test draws it.
type world struct {
	*Bar
	at    time.Time
	State State
}

func newWorld(out Output, title string) *world {
	w := &world{at: time.Unix(1000, 0), State: Nothing}
	out.Size, out.Span = size, span
	w.Bar = newBar(out, title, func() State { return w.State }, func() time.Time { return w.at })
	close(w.stopped)
	return w
}

// pass shows what is done some time later.
func (w *world) pass(d time.Duration, done, total uint64) {
	w.at = w.at.Add(d)
	w.State.Done, w.State.Total = done, total
	w.tick()
}

func file(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func text(t *testing.T, f *os.File) string {
	t.Helper()
	text, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestALineSaysWhatThereIsRoomFor(t *testing.T) {
	columnstest.EastAsian(t, false)
	for _, row := range []struct {
		unicode bool
		title   string
		width   int
		want    string
	}{
		{true, "web1", 90, "web1 ⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿⣿⡇⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀⣀  42% 420B/1000B 105B/s 0:06 left"},
		{true, "web1", 46, "web1 ⣿⣿⣿⣀⣀⣀⣀⣀  42% 420B/1000B 105B/s 0:06 left"},
		{true, "web1", 45, "web1  42% 420B/1000B 105B/s 0:06 left"},
		{false, "web1", 64, "web1 [##########--------------]  42% 420B/1000B 105B/s 0:06 left"},
		{true, "web1", 30, "web1  42% 420B/1000B 0:06 left"},
		{true, "web1", 19, "web1  42% 0:06 left"},
		{true, "a-long-name-of-an-image", 30, "a-long-name-of…  42% 0:06 left"},
		{false, "a-long-name-of-an-image", 30, "a-long-name-...  42% 0:06 left"},
		{true, "ウェブサーバー", 26, "ウェブサー…  42% 0:06 left"},
		{true, "web1", 9, "web1  42%"},
		{true, "web1", 4, "web1"},
		{true, "web1", 0, ""},
	} {
		w := newWorld(Output{File: file(t), Unicode: row.unicode}, row.title)
		for i := range uint64(5) {
			w.pass(time.Second, i*105, 1000)
		}
		got := w.layout(w.State, row.width)
		if n := runewidth.StringWidth(got); n > row.width {
			t.Errorf("%q has %d columns, want %d at most", got, n, row.width)
		}
		if got != row.want {
			t.Errorf("%d columns: got\n%q, want\n%q", row.width, got, row.want)
		}
	}
}

func TestALineFitsInEastAsia(t *testing.T) {
	columnstest.EastAsian(t, true)
	w := newWorld(Output{File: file(t), Unicode: true}, "a-long-name-of-an-image-of-ウェブサーバー")
	for i := range uint64(5) {
		w.pass(time.Second, i*105, 1000)
	}
	for width := range 100 {
		if got := w.layout(w.State, width); runewidth.StringWidth(got) > width {
			t.Errorf("%q has more than %d columns", got, width)
		}
	}
}

func TestWhatNobodyCanTellIsNotTold(t *testing.T) {
	t.Parallel()
	w := newWorld(Output{File: file(t)}, "web1")
	w.pass(3*time.Second, Unknown, Unknown)
	if got := w.layout(w.State, 60); got != "web1 | 0:03" {
		t.Errorf("got %q", got)
	}
	w.pass(2*time.Second, 100, Unknown)
	w.pass(2*time.Second, 200, Unknown)
	if got := w.layout(w.State, 60); got != "web1 | 200B 0:07" {
		t.Errorf("got %q", got)
	}
	w.State = Nothing
	w.State.Count, w.State.Of, w.State.Things = 50, 200, "files"
	if got := w.layout(w.State, 40); got != "web1 [###------------]  25% 50/200 files" {
		t.Errorf("got %q", got)
	}
}

func TestColourIsOnlyInTheBar(t *testing.T) {
	t.Parallel()
	w := newWorld(Output{File: file(t), Unicode: true, Colour: true}, "web1")
	w.State.Fraction = 0.5
	if got, want := w.layout(w.State, 18), "web1 \x1b[34m⣿⣿⣿⣿\x1b[0m\x1b[90m⣀⣀⣀⣀\x1b[0m  50%"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAFileGetsALineATenth(t *testing.T) {
	t.Parallel()
	f := file(t)
	w := newWorld(Output{File: f, Prefix: "machctl: "}, "web1")
	for done := uint64(0); done <= 1000; done += 5 {
		w.pass(50*time.Millisecond, done, 1000)
	}
	w.End()
	lines := strings.Split(strings.TrimSpace(text(t, f)), "\n")
	if len(lines) != 10 || lines[0] != "machctl: web1: 10% 100B/1000B 100B/s 9s left" || lines[9] != "machctl: web1: 100% 1000B/1000B 100B/s 0s left" {
		t.Errorf("got\n%s", strings.Join(lines, "\n"))
	}
}

func TestAFileGetsALineOnceInAWhileWhereNobodyKnowsTheEnd(t *testing.T) {
	t.Parallel()
	f := file(t)
	w := newWorld(Output{File: f}, "web1")
	for range 130 {
		w.pass(time.Second, Unknown, Unknown)
	}
	if got, want := text(t, f), "web1: 30s\nweb1: 1m0s\nweb1: 1m30s\nweb1: 2m0s\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWhatIsOverSoonIsNotShown(t *testing.T) {
	t.Parallel()
	f := file(t)
	w := newWorld(Output{File: f, Patience: time.Second}, "web1")
	w.pass(900*time.Millisecond, 500, 1000)
	w.End()
	if got := text(t, f); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestAQuietOneShowsNothing(t *testing.T) {
	t.Parallel()
	f := file(t)
	bar := Start(Output{File: f, Quiet: true}, "web1", func() State { t.Error("asked"); return Nothing })
	bar.Log("line")
	bar.End()
	if got := text(t, f); got != "" {
		t.Errorf("got %q", got)
	}
}

// screen is a terminal, and what was written to it so far.
func screen(t *testing.T, columns uint16) (tty *os.File, written func() string) {
	t.Helper()
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close(); tty.Close() })
	if err := pty.Setsize(tty, &pty.Winsize{Rows: 10, Cols: columns}); err != nil {
		t.Fatal(err)
	}
	return tty, func() string {
		t.Helper()
		const mark = "\x00"
		if _, err := tty.WriteString(mark); err != nil {
			t.Fatal(err)
		}
		var all []byte
		for one := make([]byte, 1); ; all = append(all, one...) {
			if _, err := io.ReadFull(master, one); err != nil {
				t.Fatal(err)
			}
			if string(one) == mark {
				return string(all)
			}
		}
	}
}

const (
	tells  = "\x1b]9;4;%d;%d\x1b\\"
	erases = "\x1b[K"
)

// line is how one is drawn: no terminal makes two of it, and the cursor is at its
// beginning.
func line(signal, text string) string {
	return "\x1b[?7l" + signal + "\r" + text + erases + "\r\x1b[?7h"
}

func TestATerminalIsRedrawnInPlaceAndCleared(t *testing.T) {
	t.Setenv("TERM", "xterm")
	tty, written := screen(t, 10)
	w := newWorld(Output{File: tty}, "web1")
	w.pass(0, Unknown, Unknown)
	if got, want := written(), line(fmt.Sprintf(tells, 3, 0), "web1 /"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	w.pass(0, 42, 100)
	w.pass(0, 42, 100)
	if got, want := written(), line(fmt.Sprintf(tells, 1, 42), "web1  42%")+line("", "web1  42%"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := pty.Setsize(tty, &pty.Winsize{Rows: 10, Cols: 20}); err != nil {
		t.Fatal(err)
	}
	w.pass(0, 50, 100)
	if got, want := written(), line(fmt.Sprintf(tells, 1, 50), "\x1b[Jweb1  50% 50B/100B"); got != want {
		t.Errorf("after it has become wider: got %q, want %q", got, want)
	}
	w.Log("a line")
	w.Log("another")
	if got, want := written(), "\r"+erases+"a line\r\nanother\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	w.pass(0, 100, 100)
	written()
	w.End()
	w.End()
	w.tick()
	if got, want := written(), "\r"+erases+fmt.Sprintf(tells, 0, 0); got != want {
		t.Errorf("in the end: got %q, want %q", got, want)
	}
}

func TestATerminalThatKnowsNothingGetsLines(t *testing.T) {
	for _, term := range []string{"", "dumb"} {
		t.Setenv("TERM", term)
		tty, written := screen(t, 40)
		w := newWorld(Output{File: tty}, "web1")
		w.pass(0, 42, 100)
		w.End()
		if got, want := written(), "web1: 42% 42B/100B\r\n"; got != want {
			t.Errorf("TERM=%q: got %q, want %q", term, got, want)
		}
	}
}

func TestABarDrawsItselfUntilItsEnd(t *testing.T) {
	t.Setenv("TERM", "xterm")
	tty, written := screen(t, 80)
	asked := make(chan bool)
	bar := Start(Output{File: tty, Size: size, Span: span}, "web1", func() State {
		asked <- true
		return Nothing
	})
	<-asked
	<-asked
	go func() {
		for range asked {
		}
	}()
	bar.End()
	close(asked)
	if got := written(); !strings.Contains(got, fmt.Sprintf(tells, 3, 0)+"\rweb1 /") || !strings.HasSuffix(got, "\r"+erases+fmt.Sprintf(tells, 0, 0)) {
		t.Errorf("got %q", got)
	}
}
