// Package terminal runs a command on a pseudo terminal, types and reads there
// as a person would. It knows nothing of machines.
package terminal

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// patience is how long any single answer may take, on a slow machine too.
const patience = time.Minute

// A Terminal is a pseudo terminal with one command on it.
type Terminal struct {
	cmd         *exec.Cmd
	master, tty *os.File
	before      unix.Termios // how the command found the terminal
	exited      chan struct{}
	show        func(string)
	status      error // valid once exited is closed

	mu   sync.Mutex
	text string        // what came and was not expected yet, without escape sequences
	more chan struct{} // closed and replaced when text grows
}

// escapes are the sequences that colour a terminal and set its title.
var escapes = regexp.MustCompile("\x1b(\\[[0-9;:?!]*[ -/]*[@-~]|\\][^\x07\x1b]*(\x07|\x1b\\\\)|[()][A-Z0-9]|[=>78cM])")

// unfinished is the beginning of such a sequence whose rest has yet to come.
var unfinished = regexp.MustCompile("\x1b(\\[[0-9;:?!]*[ -/]*|\\][^\x07\x1b]*\x1b?|[()])?$")

// Open starts a command on a terminal of its own. What is expected later, and
// came, is given to show.
func Open(show func(string), argv ...string) (*Terminal, error) {
	master, tty, err := pty.Open()
	if err != nil {
		return nil, fmt.Errorf("cannot open a terminal: %w", err)
	}
	if err := pty.Setsize(master, &pty.Winsize{Rows: 40, Cols: 120}); err != nil {
		return nil, fmt.Errorf("cannot set the terminal's size: %w", err)
	}
	before, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("cannot read the terminal's state: %w", err)
	}
	t := &Terminal{cmd: exec.Command(argv[0], argv[1:]...), master: master, tty: tty, before: *before, show: show,
		exited: make(chan struct{}), more: make(chan struct{})}
	t.cmd.Stdin, t.cmd.Stdout, t.cmd.Stderr = tty, tty, tty
	t.cmd.Env = append(os.Environ(), "TERM=xterm")
	t.cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
	if err := t.cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", argv[0], err)
	}
	go t.read()
	go func() {
		t.status = t.cmd.Wait()
		close(t.exited)
	}()
	return t, nil
}

// read collects what the command writes. An escape sequence may come in two
// pieces, so the raw text is kept until it is complete.
func (t *Terminal) read() {
	buf, raw := make([]byte, 4096), ""
	for {
		n, err := t.master.Read(buf)
		if err != nil {
			return
		}
		raw += string(buf[:n])
		clean := escapes.ReplaceAllString(raw, "")
		raw = unfinished.FindString(clean)
		clean = strings.TrimSuffix(clean, raw)
		t.mu.Lock()
		t.text += strings.ReplaceAll(clean, "\r", "")
		close(t.more)
		t.more = make(chan struct{})
		t.mu.Unlock()
	}
}

// Expect waits for text that matches, shows everything up to its end and
// returns that.
func (t *Terminal) Expect(pattern string) (string, error) {
	want := regexp.MustCompile(pattern)
	timeout := time.After(patience)
	for exited := t.exited; ; {
		t.mu.Lock()
		text, more := t.text, t.more
		if at := want.FindStringIndex(text); at != nil {
			t.text = text[at[1]:]
			t.mu.Unlock()
			t.show(text[:at[1]])
			return text[:at[1]], nil
		}
		t.mu.Unlock()
		select {
		case <-more:
		case <-exited:
			// Its last words may still be on their way.
			exited, timeout = nil, time.After(time.Second)
		case <-timeout:
			t.show(text)
			return "", fmt.Errorf("waited for %q in vain", pattern)
		}
	}
}

// Type types text, without a line end of its own.
func (t *Terminal) Type(text string) error {
	_, err := t.master.WriteString(text)
	return err
}

// TypeHidden types text once the command has stopped showing what is typed:
// whoever asks for a password throws away what came before.
func (t *Terminal) TypeHidden(text string) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		now, err := unix.IoctlGetTermios(int(t.tty.Fd()), unix.TCGETS)
		if err != nil {
			return err
		}
		if now.Lflag&unix.ECHO == 0 {
			return t.Type(text)
		}
		if time.Now().After(deadline) {
			return errors.New("the terminal goes on showing what is typed")
		}
	}
}

// Wait waits for the command's end and checks that it left the terminal as it
// found it.
func (t *Terminal) Wait() error {
	select {
	case <-t.exited:
	case <-time.After(patience):
		return fmt.Errorf("%s does not end", t.cmd.Args[0])
	}
	if t.status != nil {
		return fmt.Errorf("%s ended with: %w", t.cmd.Args[0], t.status)
	}
	after, err := unix.IoctlGetTermios(int(t.tty.Fd()), unix.TCGETS)
	if err != nil {
		return err
	}
	if *after != t.before {
		return fmt.Errorf("the terminal is not as it was: %+v, before %+v", *after, t.before)
	}
	return errors.Join(t.tty.Close(), t.master.Close())
}
