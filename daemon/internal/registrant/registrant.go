// Package registrant holds the rules about who may register which process as
// a machine: they are the same whichever way a registration comes in. It pins
// processes and asks for permission; it must not know a bus, and makes no
// machine.
package registrant

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/auth"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machine1"
)

// A Leader is how a registrant names the process that its machine lives with.
// The zero value stands for the registrant itself.
type Leader struct {
	Process *proc.PIDFD // by descriptor; Pin owns it. PID and ID then only confirm it
	PID     int64       // by number; 0 if not given
	ID      uint64      // inode of the pidfd; 0 if not given
}

// Check refuses what no process can answer to. Pin does it as well; it is apart
// for callers that have to complain about the leader before they complain about
// what follows it.
//
// Reference: machined-dbus.c, method_create_or_register_machine.
func (l Leader) Check() error {
	switch {
	case l.PID == initPID, l.PID < 0, l.PID > maxPID:
		return machine1.Errorf(machine1.ErrInvalidArgs, "Invalid leader PID")
	case l.Process == nil && l.PID == 0 && l.ID != 0:
		return machine1.Errorf(machine1.ErrInvalidArgs, "Leader PIDFD ID given without a PID")
	}
	return nil
}

const (
	initPID = 1
	maxPID  = 1<<31 - 1
)

// Parties are the processes of a registration, pinned.
type Parties struct {
	Leader     *proc.PIDFD
	Supervisor *proc.PIDFD // the registrant, if it is not the leader; nil if it is
	Cgroup     string      // the registrant's, "" if it has gone

	caller  auth.Caller
	implied bool // no leader was named
}

// Pin resolves l. Whoever names somebody else as the leader is the supervisor.
// PID 1 can be neither. The result is to be closed, before caller is.
//
// Reference: machined-dbus.c, machine_new_from_method and pidref handling;
// machine-varlink.c, vl_method_register.
func Pin(caller auth.Caller, l Leader) (*Parties, error) {
	p := &Parties{Leader: l.Process, caller: caller, implied: l == Leader{}}
	if err := p.pin(l); err != nil {
		p.Close()
		return nil, err
	}
	if caller.PIDFD != nil {
		// A registrant that exits at once, as varlinkctl does, is nobody's
		// fault: then its cgroup is not known.
		p.Cgroup, _ = caller.PIDFD.Cgroup()
	}
	return p, nil
}

func (p *Parties) pin(l Leader) error {
	if err := l.Check(); err != nil {
		return err
	}
	if err := p.pinLeader(l); err != nil {
		return err
	}
	if p.Leader.PID() == initPID {
		return machine1.Errorf(machine1.ErrInvalidArgs, "Invalid leader PID")
	}
	registrant := p.caller.PIDFD
	if registrant == nil || same(registrant, p.Leader) {
		return nil
	}
	if registrant.PID() == initPID {
		return machine1.Errorf(machine1.ErrInvalidArgs, "Invalid supervisor PID")
	}
	var err error
	p.Supervisor, err = registrant.Dup()
	return err
}

func (p *Parties) pinLeader(l Leader) (err error) {
	switch {
	case l.Process != nil:
		return l.confirm()
	case l.PID == 0 && p.caller.PIDFD == nil:
		return machine1.Errorf(unix.ESRCH, "Cannot tell which process is calling")
	case l.PID == 0:
		p.Leader, err = p.caller.PIDFD.Dup()
		return err
	}
	if p.Leader, err = proc.Open(int(l.PID)); err != nil {
		return machine1.Errorf(err, "Failed to pin process %d: %s", l.PID, reason(err))
	}
	if id := p.Leader.ID(); l.ID != 0 && id != 0 && l.ID != id {
		return machine1.Errorf(unix.ESRCH, "Process %d is not the one with PIDFD ID %d", l.PID, l.ID)
	}
	return nil
}

// confirm compares a descriptor with the numbers given beside it.
func (l Leader) confirm() error {
	switch {
	case l.PID != 0 && l.PID != int64(l.Process.PID()):
		return machine1.Errorf(machine1.ErrInvalidArgs, "Leader PID does not match leader PIDFD")
	case l.ID != 0 && l.Process.ID() != 0 && l.ID != l.Process.ID():
		return machine1.Errorf(machine1.ErrInvalidArgs, "Leader PIDFD ID does not match leader PIDFD")
	}
	return nil
}

func same(a, b *proc.PIDFD) bool { return a.PID() == b.PID() && a.ID() == b.ID() }

// reason is the kernel's part of err, where it has one.
func reason(err error) string {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}

// Close lets go of the processes, unless they were handed over.
func (p *Parties) Close() {
	for _, process := range []*proc.PIDFD{p.Leader, p.Supervisor} {
		if process != nil {
			process.Close()
		}
	}
	p.Leader, p.Supervisor = nil, nil
}

// HandOver fills in what r has to say about processes. They are r's from then
// on.
func (p *Parties) HandOver(r *machine.Registration) {
	r.Leader, r.Supervisor = p.Leader, p.Supervisor
	r.Implied = p.implied
	r.CallerCgroup = p.Cgroup
	r.UID = p.caller.UID
	p.Leader, p.Supervisor = nil, nil
}

// A Gate asks polkit; *access.Gate does.
type Gate interface {
	Decide(ctx context.Context, c auth.Caller, q access.Question) (auth.Verdict, error)
}

// Question is what is asked about a machine to be. A machine that gets a unit
// of its own is created, any other is registered.
func Question(name string, class machine1.Class, create bool) access.Question {
	q := access.Question{Rule: access.Register, Details: map[string]string{"name": name}}
	if create {
		q.Rule = access.Create
	}
	if class != "" {
		q.Details["class"] = string(class)
	}
	return q
}

// Authorize asks at the gate, and makes sure that the registrant owns the
// leader. Else a user could make a machine of somebody else's process, and
// then do to it what owners of machines may. Only root and administrators may.
//
// Reference: machined-dbus.c, machine_check_leader_ownership [258].
func (p *Parties) Authorize(ctx context.Context, gate Gate, q access.Question) error {
	verdict, err := gate.Decide(ctx, p.caller, q)
	if err != nil {
		return err
	}
	if p.caller.UID == 0 || p.caller.Privileged() || verdict.Admin {
		return nil
	}
	owned, err := p.Leader.OwnedBy(p.caller.UID)
	if err != nil {
		return fmt.Errorf("cannot tell who owns process %d: %w", p.Leader.PID(), err)
	}
	if !owned {
		return machine1.Errorf(machine1.ErrAccessDenied, "Only privileged users may register machines for other users")
	}
	return nil
}
