package main

import (
	"context"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/client"
)

// taken are the signals that go to a command instead of us, unless we were told
// to ignore them, as by nohup(1).
var taken = []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2}

// execSignals are signals for a command that may not have begun yet.
type execSignals chan os.Signal

func takeSignals() execSignals {
	signals := make(execSignals, 8)
	for _, s := range taken {
		if !signal.Ignored(s) {
			signal.Notify(signals, s)
		}
	}
	return signals
}

// stop takes no more signals. What came before it is passed still.
func (signals execSignals) stop() {
	signal.Stop(signals)
	close(signals)
}

// pass sends signals to the command until they are stopped.
func (signals execSignals) pass(running *client.Execution) {
	for s := range signals {
		pass(running, s)
	}
}

// pass sends a signal. That the command has ended, or the daemon, is for others
// to find out.
func pass(running *client.Execution, s os.Signal) {
	if s, ok := s.(unix.Signal); ok {
		_ = running.Signal(s)
	}
}

// beginning is how long a signal waits for a command that is just being begun:
// it may run already, and we have yet to hear of it.
const beginning = time.Second

// begin starts the command. A signal that comes well before it has begun ends us.
func (a *app) begin(ctx context.Context, signals execSignals, command client.ExecCommand, run runner) (running *client.Execution, err error) {
	ctx, cancel := a.limit(ctx)
	defer cancel()
	begun := make(chan struct{})
	go func() {
		defer close(begun)
		running, err = run(ctx, command)
	}()
	select {
	case <-begun:
	case s := <-signals:
		patience := time.AfterFunc(beginning, cancel)
		<-begun
		patience.Stop()
		if err == nil {
			pass(running, s)
		} else if s, ok := s.(unix.Signal); ok {
			err = statusError(exitSignal + int(s))
		}
	}
	a.agent.Stop()
	return running, err
}
