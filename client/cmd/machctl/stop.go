package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/client"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// repeatAfter is how long an init has to act before it is asked once more. One
// that is only just booting does not hear, and one that heard does not mind.
const repeatAfter = 2 * time.Second

// An ending is a way to end a machine.
type ending struct {
	call    machineCall
	again   machineCall // while the machine is still there, or nil
	overdue string      // what it has not done in time
	harder  string      // how to insist, for a name
}

// stopOptions are options of stop alone.
type stopOptions struct{ ifRunning bool }

func (o *stopOptions) addStopFlags(f *pflag.FlagSet) {
	f.BoolVar(&o.ifRunning, "if-running", false, "Say nothing of machines that do not run")
}

// stop has machd end machines, all at the same time, and returns when they are
// gone for good, so that what a script does next can count on it.
func (a *app) stop(ctx context.Context, names []string) error {
	if a.stock {
		return a.stopStock(ctx, names)
	}
	if a.noWait && a.force {
		return usagef("--no-wait and --force exclude each other: without waiting, the machine's init is only asked")
	}
	names, err := a.toEnd(ctx, names, "stop")
	switch {
	case err != nil:
		return err
	case a.noWait:
		return a.stopStock(ctx, names)
	}
	ours, err := a.isMachd(ctx)
	switch {
	case err != nil:
		return err
	case !ours:
		return a.stopStock(ctx, names)
	}
	stops := make([]func() error, len(names))
	for i, name := range names {
		stops[i] = func() error { return a.stopOne(ctx, name) }
	}
	return a.summed("stopped", len(names), a.actTogether(stops))
}

func (a *app) stopOne(ctx context.Context, name string) error {
	how, err := a.client.Stop(ctx, name, a.stopOptionsFor())
	switch {
	case errors.Is(err, machine1.ErrNoSuchMachine) && a.ifRunning:
		return nil
	case errors.Is(err, machine1.ErrTimeout):
		return &hintedError{err, fmt.Sprintf(`"machctl status %s" shows what is left`, name)}
	case err != nil:
		return a.protectedHint(err)
	case how == machd.StopUnit:
		a.ui.notice(fmt.Sprintf("%q did not shut down by itself, so its unit was stopped", name))
	case how == machd.StopKill:
		a.ui.notice(fmt.Sprintf("%q did not end when it was told to, so it was killed", name))
	}
	return nil
}

func (a *app) stopOptionsFor() machd.StopOptions {
	return machd.StopOptions{Timeout: a.timeout.d, Force: a.force}
}

// protectedHint tells the way past a machine's protection.
func (a *app) protectedHint(err error) error {
	if errors.Is(err, unix.EBUSY) && !a.force {
		return &hintedError{err, "--force ends it all the same"}
	}
	return err
}

// stopStock asks the machines' init to shut down and waits until they are gone.
// An init that does not care is for the user to deal with.
func (a *app) stopStock(ctx context.Context, names []string) error {
	return a.end(ctx, names, ending{
		call:    a.clientCall((*client.Client).PowerOff),
		again:   func(ctx context.Context, name string) error { return a.client.Silent().PowerOff(ctx, name) },
		overdue: "has not shut down",
		harder:  `"machctl terminate %[1]s" ends it without asking its init, "machctl kill -s KILL %[1]s" at once`,
	})
}

// terminate has machd end machines without asking their inits, and returns when
// they are gone for good.
func (a *app) terminate(ctx context.Context, names []string) error {
	if a.stock || a.noWait {
		return a.terminateStock(ctx, names)
	}
	if err := a.checkLookups(names...); err != nil {
		return err
	}
	if err := a.connectToAct(ctx, machine1.ActionManageMachines); err != nil {
		return err
	}
	ours, err := a.isMachd(ctx)
	switch {
	case err != nil:
		return err
	case !ours:
		return a.terminateStock(ctx, names)
	}
	return a.actOnEach(names, func(name string) error { return a.terminateOne(ctx, name) })
}

func (a *app) terminateOne(ctx context.Context, name string) error {
	how, err := a.client.TerminateAndWait(ctx, name, machd.TerminateOptions{Timeout: a.timeout.d})
	switch {
	case errors.Is(err, machine1.ErrTimeout):
		return &hintedError{err, fmt.Sprintf(`"machctl status %s" shows what is left`, name)}
	case err != nil:
		return err
	case how == machd.StopKill:
		a.ui.notice(fmt.Sprintf("what ran %q did not end, so it was killed, too", name))
	}
	return nil
}

// terminateStock has the machines' units stopped, by which systemd-nspawn asks
// the init. One that does not care is killed while it is waited for.
func (a *app) terminateStock(ctx context.Context, names []string) error {
	return a.end(ctx, names, ending{
		call: a.clientCall((*client.Client).Terminate),
		again: func(ctx context.Context, name string) error {
			return a.client.Silent().Kill(ctx, name, client.WhomLeader, unix.SIGKILL)
		},
		overdue: "has not ended",
		harder:  `"machctl kill -s KILL %s" kills all that it runs in`,
	})
}

// reboot does not wait: what comes back is a new machine. One that is paused
// would hear of it later.
func (a *app) reboot(ctx context.Context, names []string) error {
	return a.tell(ctx, names, func(ctx context.Context, name string) error {
		if !a.stock && a.detailOf(ctx, name, a.timeout.or(listTimeout)).State == machd.StatePaused {
			return &hintedError{fmt.Errorf("cannot reboot %q: it is paused", name), fmt.Sprintf(`"machctl resume %s" has it go on`, name)}
		}
		return a.client.Reboot(ctx, name)
	})
}

// kill sends a signal.
func (a *app) kill(ctx context.Context, names []string) error {
	if text, ok := signalListing(a.signal); ok {
		a.ui.print(text)
		return nil
	}
	if len(names) == 0 {
		return usagef("kill: too few arguments; it is machctl kill NAME…")
	}
	signal, err := parseSignal(a.signal, a.stock)
	if err != nil {
		return err
	}
	if err := a.checkWhom(); err != nil {
		return err
	}
	return a.tell(ctx, names, func(ctx context.Context, name string) error {
		return a.client.Kill(ctx, name, a.whomOrAll(), signal)
	})
}

func (a *app) whomOrAll() string {
	if a.whom == "" {
		return client.WhomAll
	}
	return a.whom
}

// checkWhom leaves other words to the daemon where the stock command does.
func (a *app) checkWhom() error {
	if whom := a.whomOrAll(); !a.stock && whom != client.WhomAll && whom != client.WhomLeader && whom != client.WhomSupervisor {
		return usagef("--kill-whom: there is no %q, only %s, %s and %s", whom, client.WhomAll, client.WhomLeader, client.WhomSupervisor)
	}
	return nil
}

// A machineCall does something to one machine.
type machineCall func(ctx context.Context, name string) error

// clientCall is a call of the client that is not connected yet.
func (a *app) clientCall(call func(*client.Client, context.Context, string) error) machineCall {
	return func(ctx context.Context, name string) error { return call(a.client, ctx, name) }
}

// tell does the same to several machines.
func (a *app) tell(ctx context.Context, names []string, call machineCall) error {
	if err := a.checkLookups(names...); err != nil {
		return err
	}
	if a.client == nil {
		if err := a.connectToAct(ctx, machine1.ActionManageMachines); err != nil {
			return err
		}
	}
	a.action = machine1.ActionManageMachines
	return a.actOnEach(names, func(name string) error {
		ctx, cancel := a.limit(ctx)
		defer cancel()
		return call(ctx, name)
	})
}

// end tells machines to end and then waits for all of them together.
func (a *app) end(ctx context.Context, names []string, e ending) error {
	if a.noWait || a.stock {
		return a.tell(ctx, names, a.ifItRuns(e.call))
	}
	timeout := a.timeout.or(stopTimeout)
	var waits []func() error
	var waiting sync.Mutex
	failed := a.tell(ctx, names, a.ifItRuns(func(callCtx context.Context, name string) error {
		gone, err := a.watch(callCtx, name)
		if err == nil {
			err = e.call(callCtx, name)
		}
		if err != nil {
			return err
		}
		waiting.Lock()
		defer waiting.Unlock()
		waits = append(waits, func() error {
			defer gone.Close()
			return e.await(ctx, gone, name, timeout)
		})
		return nil
	}))
	return join(failed, together(waits))
}

// ifItRuns is call, to which with --if-running it is no failure that a machine
// does not run.
func (a *app) ifItRuns(call machineCall) machineCall {
	return func(ctx context.Context, name string) error {
		err := call(ctx, name)
		if a.ifRunning && errors.Is(err, machine1.ErrNoSuchMachine) {
			return nil
		}
		return err
	}
}

func (a *app) watch(ctx context.Context, name string) (*client.GoneWatch, error) {
	gone, err := a.client.WatchGone(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("cannot watch %q: %w", name, err)
	}
	// A machine that is unknown is refused by the call that follows.
	if m, err := a.client.Machine(ctx, name); err == nil {
		gone.AndUnit(m)
	}
	return gone, nil
}

// await waits until the machine is gone.
func (e ending) await(ctx context.Context, gone *client.GoneWatch, name string, timeout time.Duration) error {
	var repeating sync.WaitGroup
	defer repeating.Wait()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if e.again != nil {
		repeating.Go(func() { e.repeat(ctx, name) })
	}
	err := gone.Wait(ctx)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, machine1.ErrTimeout):
		return &hintedError{
			machine1.Errorf(machine1.ErrTimeout, "%q %s within %v", name, e.overdue, timeout),
			fmt.Sprintf(e.harder, name),
		}
	case err != nil:
		return fmt.Errorf("cannot tell whether %q ended: %w", name, err)
	}
	return nil
}

// repeat asks again until ctx ends. That the machine is gone is for others to
// find out.
func (e ending) repeat(ctx context.Context, name string) {
	ticker := time.NewTicker(repeatAfter)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			_ = e.again(ctx, name)
		case <-ctx.Done():
			return
		}
	}
}
