package main

import (
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/client/internal/progress"
)

// interrupts are the signals by which people end a command.
var interrupts = []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT}

// startProgress shows how far something is, from now until its End, if it takes
// longer than patience. Nothing is shown with --quiet.
func (a *app) startProgress(title string, patience time.Duration, state func() progress.State) *progress.Bar {
	return progress.Start(progress.Output{
		File: a.ui.err, Quiet: a.quiet, Unicode: a.ui.unicode, Colour: os.Getenv("NO_COLOR") == "",
		Prefix: "machctl: ", Patience: patience, Size: size, Span: span,
	}, printable(title), state)
}

// interrupted takes the signals by which we are ended, until stop, but for
// those that we were told to ignore, as by nohup(1).
func interrupted() (signals chan os.Signal, stop func()) {
	signals = make(chan os.Signal, 1)
	for _, s := range interrupts {
		if !signal.Ignored(s) {
			signal.Notify(signals, s)
		}
	}
	return signals, func() { signal.Stop(signals) }
}
