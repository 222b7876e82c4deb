package main

import (
	"context"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
)

// interruptible calls connect, which may have a program ask for a password. A
// signal that ends us ends that program first: one that is about to read from
// the terminal may not notice that it got the signal as well, and would read on.
// The terminal is left as it was.
func interruptible[T any](ctx context.Context, connect func(context.Context) (T, error)) (T, error) {
	restore := terminalModes()
	ctx, giveUp := context.WithCancel(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, interrupts...)
	over, noticed := make(chan struct{}), make(chan os.Signal, 1)
	go func() {
		defer close(noticed)
		select {
		case s := <-signals:
			noticed <- s
			giveUp()
		case <-over:
			select {
			case s := <-signals: // the program was quicker to end by it
				noticed <- s
			default:
			}
		}
	}()
	result, err := connect(ctx)
	close(over)
	signal.Stop(signals)
	if s, ok := <-noticed; ok {
		restore()
		endBy(s.(unix.Signal))
	}
	return result, err
}

// endBy ends this process as the signal does, and with the same exit status
// where it is ignored.
func endBy(s unix.Signal) {
	_ = unix.Kill(os.Getpid(), s)
	time.Sleep(100 * time.Millisecond) // another thread may be the one to get it
	os.Exit(exitSignal + int(s))
}

// terminalModes returns what sets the terminal's modes to what they are now.
func terminalModes() (restore func()) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return func() {}
	}
	modes, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	return func() {
		if err == nil {
			_ = unix.IoctlSetTermios(int(tty.Fd()), unix.TCSETS, modes)
		}
		_ = tty.Close()
	}
}
