package relay

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	ossignal "os/signal"
	"strings"
	"syscall"

	"github.com/machd/machd/pkg/child"
)

// A Command is what to run elsewhere, and with what. The files are nil where
// there is nothing.
type Command struct {
	Args   []string  // the program that leads there, and its arguments
	Stdin  io.Reader // an error of it, unlike its end, hangs the command up
	Stdout io.Writer
	Stderr *os.File
	// Signals are passed on. Those of the terminal go to the far end only, not
	// to the program that leads there.
	Signals []os.Signal
}

var (
	// ErrNobody says that there is no far end.
	ErrNobody = errors.New("the program is not installed there")
	// ErrLost says that the far end was lost, and the command was hung up.
	ErrLost = errors.New("the connection was lost")
)

// An UnreachableError says that the program that leads there has ended before
// there was a far end.
type UnreachableError struct{ Status int }

func (e *UnreachableError) Error() string { return fmt.Sprintf("exit status %d", e.Status) }

// A SignalError says that a signal came before there was a far end.
type SignalError struct{ Signal syscall.Signal }

func (e *SignalError) Error() string { return e.Signal.String() }

// ofTerminal are the signals that a terminal sends to all of us.
var ofTerminal = []os.Signal{syscall.SIGINT, syscall.SIGQUIT}

// Run is the near end. It returns the exit status of the command.
func Run(c Command) (status int, err error) {
	signals := make(chan os.Signal, 8)
	var wanted []os.Signal
	for _, s := range c.Signals {
		if !ossignal.Ignored(s) {
			wanted = append(wanted, s)
		}
	}
	// What we ignore the program ignores, and then it is ours alone.
	ossignal.Ignore(ofTerminal...)
	n, err := startNear(c)
	ossignal.Reset(ofTerminal...)
	if len(wanted) > 0 {
		ossignal.Notify(signals, wanted...)
		defer ossignal.Stop(signals)
	}
	if err != nil {
		return 0, err
	}
	defer n.program.End()
	defer n.input.Close()
	hello := make(chan string, 1)
	go func() { hello <- n.greeting() }()
	select {
	case s := <-signals:
		n.program.Signal(syscall.SIGTERM)
		return 0, &SignalError{s.(syscall.Signal)}
	case said := <-hello:
		switch said {
		case helloFrames:
			return n.relay(signals)
		case helloBare:
			return n.copyBare(signals)
		case helloNobody:
			return 0, ErrNobody
		}
	}
	return 0, &UnreachableError{n.program.Status()}
}

// A nearEnd is the program that leads to the far end, and its files.
type nearEnd struct {
	Command
	frames
	program *child.Child
	input   *os.File
	output  *bufio.Reader
	room    *room
}

func startNear(c Command) (*nearEnd, error) {
	stdin, input, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot make pipes: %w", err)
	}
	defer stdin.Close()
	output, stdout, err := os.Pipe()
	if err != nil {
		input.Close()
		return nil, fmt.Errorf("cannot make pipes: %w", err)
	}
	defer stdout.Close()
	cmd := exec.Command(c.Args[0], c.Args[1:]...)
	cmd.Stdin, cmd.Stdout = stdin, stdout
	if c.Stderr != nil {
		cmd.Stderr = c.Stderr
	}
	program, err := child.Start(cmd, syscall.SIGTERM)
	if err != nil {
		input.Close()
		output.Close()
		return nil, fmt.Errorf("cannot start %s: %w", c.Args[0], err)
	}
	return &nearEnd{
		Command: c, frames: frames{w: input}, program: program,
		input: input, output: bufio.NewReaderSize(output, maxPayload), room: newRoom(),
	}, nil
}

// greeting returns the far end's first line, or "". What comes before it is
// shown.
func (n *nearEnd) greeting() string {
	for {
		line, err := n.output.ReadString('\n')
		text := strings.TrimRight(line, "\r\n")
		switch {
		case text == helloFrames, text == helloBare, text == helloNobody:
			return text
		case n.Stderr != nil:
			_, _ = io.WriteString(n.Stderr, line)
		}
		if err != nil {
			return ""
		}
	}
}

// relay runs until the command has ended, or the far end is lost.
func (n *nearEnd) relay(signals <-chan os.Signal) (status int, err error) {
	over := make(chan struct{})
	defer close(over)
	go func() {
		for {
			select {
			case s := <-signals:
				_ = n.sendNumber(signal, int(s.(syscall.Signal)))
			case <-over:
				return
			}
		}
	}()
	defer n.room.close()
	failed := make(chan error, 1)
	go func() {
		if err := n.sendInput(); err != nil {
			failed <- err
			n.input.Close()
		}
	}()
	buffer := make([]byte, maxPayload)
	for {
		kind, payload, err := receive(n.output, buffer)
		if err != nil {
			return 0, cmp.Or(unread(failed), ErrLost)
		}
		switch kind {
		case output:
			if _, err := n.Stdout.Write(payload); err != nil {
				return 0, err
			}
		case taken:
			n.room.give(number(payload))
		case exited:
			return number(payload), unread(failed)
		}
	}
}

// unread is why there was no more input to be had, nil if there was.
func unread(failed <-chan error) error {
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// sendInput sends what there is to read, as far as it is taken.
func (n *nearEnd) sendInput() error {
	buffer := make([]byte, maxPayload)
	for n.Stdin != nil && n.room.take() {
		read, err := n.Stdin.Read(buffer)
		n.room.give(len(buffer) - read)
		if read > 0 && n.send(input, buffer[:read]) != nil {
			return nil // the far end is gone
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	_ = n.send(noMore, nil)
	return nil
}

// copyBare is for a command that knows no frames.
func (n *nearEnd) copyBare(signals <-chan os.Signal) (status int, err error) {
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-signals:
			n.program.Signal(syscall.SIGTERM)
		case <-over:
		}
	}()
	failed := make(chan error, 1)
	go func() {
		if n.Stdin != nil {
			if _, err := io.Copy(n.input, n.Stdin); err != nil && !errors.Is(err, syscall.EPIPE) {
				failed <- err
				// It would take the end of its input for the end of all.
				n.program.Signal(syscall.SIGTERM)
				n.program.End()
			}
		}
		n.input.Close()
	}()
	if _, err := io.Copy(n.Stdout, n.output); err != nil {
		return 0, err
	}
	return n.program.Status(), unread(failed)
}
