package main

import (
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// observeOptions are the options of the verbs that show what goes on and what
// went on.
type observeOptions struct {
	since      string
	follow     bool
	inside     bool
	delay      durationFlag
	iterations uint

	linesGiven bool // --lines was
}

func (o *observeOptions) addObserveFlags(f *pflag.FlagSet) {
	f.StringVar(&o.since, "since", "", "Show only what happened since `TIME`, such as -1h, yesterday or 2026-11-28")
	f.BoolVarP(&o.follow, "follow", "f", false, "Go on showing log lines as they come")
	f.BoolVar(&o.inside, "inside", false, "Show the machine's own log")
	f.Var(&o.delay, "delay", "Measure once in `TIME`, such as 500ms")
	f.UintVar(&o.iterations, "iterations", 0, "Show the numbers `N` times and end")
}

const (
	historyHelp = `Shows who registered each machine, from when to when it ran, and how it ended:
as far as the journal goes back, over restarts of the daemon and of the host.
--lines shows the last ones only.`

	eventsHelp = `Shows machines that come (new), can be used (ready), have other ports (changed),
go (removed), or could not be started (failed), until it is interrupted. --all shows first which there are.
JSON is one object a line.`

	logsHelp = `Shows the log lines of the machine's unit: what its supervisor and its console
wrote and what systemd says of it. Of a machine that has ended they are those of
its last run. With --inside they are from the machine's own journal, also while
it does not run. --follow ends with the machine.`

	topHelp = `Shows what each machine takes of the host: processors (100% is one of them),
memory, tasks, and bytes a second from and to block devices. A "-" says that the
kernel does not count it here. On a terminal the numbers stay up to date, and
c, m, t, r, w and n choose the order, i turns it round, the arrows scroll, q
leaves. Elsewhere, and with --iterations or -n, they are printed, once if that
says nothing else.`
)

// countsLines notes whether --lines was given: what it is otherwise is for status.
func (a *app) countsLines(verb *cobra.Command) {
	run := verb.RunE
	verb.RunE = func(cmd *cobra.Command, args []string) error {
		a.linesGiven = cmd.Flags().Changed("lines")
		return run(cmd, args)
	}
}

// topDelay is how long top measures if nothing else is said.
const topDelay = time.Second
