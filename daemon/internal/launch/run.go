package launch

import (
	"context"
	"os"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// A Running machine is held by whoever runs it. The files are his.
type Running struct {
	Session  *os.File // as pkg/machd describes it
	Terminal *os.File // the master; nil if he gave files
	Unit     string
}

// Close lets go of the machine, which ends it.
func (r Running) Close() { closeAll(r.Session, r.Terminal) }

// StartRun starts a machine called name whose root is thrown away, for one
// command or, without one, for its init, and returns when its unit is being
// started. From then on the session tells all, also that the start failed. It
// is closed when nothing of the machine is left. stdio are three files, which
// stay the caller's, or none if o asks for a terminal.
func (l *Launcher) StartRun(ctx context.Context, name string, o machd.RunOptions, stdio []*os.File) (_ Running, err error) {
	switch {
	case o.Terminal && len(stdio) > 0:
		return Running{}, contradiction("Option 'terminal' asks for a terminal instead of files, and there are %d", len(stdio))
	case !o.Terminal && len(stdio) != 3:
		return Running{}, machine1.Errorf(machine1.ErrInvalidArgs, "Three files are needed for the standard streams, and there are %d", len(stdio))
	case o.VM:
		return Running{}, contradiction("Option 'vm' asks for a virtual machine, which runs no command")
	case o.Save:
		return Running{}, contradiction("Option 'save' is for later starts, of which a machine that is thrown away has none")
	}
	if !throwsAway(o.StartOptions) {
		o.Overlay = true
	}
	if len(o.Command) == 0 && o.Boot == "" {
		o.Boot = "yes"
	}
	o.Wait = machd.WaitRegistered
	h, err := l.newHolder(ctx, stdio, o.Terminal)
	if err != nil {
		return Running{}, err
	}
	defer func() {
		if err != nil {
			h.handed.Close()
		}
	}()
	s, err := l.claimRun(ctx, name, o.StartOptions, h)
	if err != nil {
		h.close()
		return Running{}, err
	}
	select {
	case <-s.queued:
	case <-s.ended:
		if s.err != nil {
			return Running{}, s.err
		}
	case <-ctx.Done():
		return Running{}, ctx.Err() // the machine ends, as nobody holds it
	}
	h.handed.Unit = s.plan.Unit
	return h.handed, nil
}

// claimRun begins a start that h is for. All of h but the caller's side belongs to
// it from now on, also when the caller leaves.
func (l *Launcher) claimRun(ctx context.Context, name string, o machd.StartOptions, h *holder) (*start, error) {
	run, err := l.runContext(ctx)
	if err != nil {
		return nil, err
	}
	l.starts.mu.Lock()
	defer l.starts.mu.Unlock()
	if _, ok := l.starts.byName[name]; ok {
		return nil, machine1.Errorf(machine1.ErrMachineExists, "Machine '%s' is being started already", name)
	}
	if l.starts.over {
		return nil, machine1.Errorf(machine1.ErrEnding, "The machine manager is about to end.")
	}
	s := newStart(l, name, o)
	s.holder = h
	l.launch(run, s, s.begin)
	l.starts.wg.Go(func() { h.keep(run, s) })
	return s, nil
}
