// Package busapi is the face of the daemon on D-Bus: it serves
// org.freedesktop.machine1 from literal tables, one file per interface. A
// handler decodes nothing and decides nothing: it asks polkit, calls the
// domain, and names the result. It must not know how a bus message is read or
// how a machine is kept.
package busapi

import (
	"context"
	"log/slog"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/auth"
	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/machine1"
)

// Config is what the API stands on.
type Config struct {
	Machines  *machine.Manager
	Images    *image.Store
	Inside    *inside.Guard
	Authority *auth.Authority
	LogLevel  *slog.LevelVar
}

// API is every object below /org/freedesktop/machine1, and LogControl1.
type API struct {
	machines  *machine.Manager
	images    *image.Store
	inside    *inside.Guard
	authority *auth.Authority
	logLevel  *slog.LevelVar
}

// New returns the API. It serves once a vtable.Server has it as its Tree.
func New(cfg Config) *API {
	return &API{
		machines:  cfg.Machines,
		images:    cfg.Images,
		inside:    cfg.Inside,
		authority: cfg.Authority,
		logLevel:  cfg.LogLevel,
	}
}

// An Emitter queues signals; *vtable.Server is one.
type Emitter interface {
	Emit(path dbus.ObjectPath, iface, member string, args ...any)
}

// Announce queues the signal that tells of e. It does not block, so the
// registry may call it while it holds its lock.
func Announce(to Emitter, e machine.Event) {
	member := "MachineRemoved"
	if e.Added {
		member = "MachineNew"
	}
	to.Emit(machine1.ObjectPath, machine1.ManagerInterface, member,
		e.Machine.Name, machine1.MachinePath(e.Machine.Name))
}

// find returns the machine called name, for a method that names its machine
// in the first argument. Any string may be asked for.
func (a *API) find(name string) (machine.Machine, error) {
	m, ok := a.machines.View().Get(name)
	if !ok {
		return machine.Machine{}, errNoSuchMachine(name)
	}
	return m, nil
}

// Reference: machine-dbus.c and machined-dbus.c; clients look for this text.
func errNoSuchMachine(name string) error {
	return machine1.Errorf(machine1.ErrNoSuchMachine, "No machine '%s' known", name)
}

// A question is one row of the authorization matrix, filled in.
type question struct {
	action  string
	details map[string]string
	// ownerPasses lets the user who registered the machine through unasked.
	ownerPasses bool
}

// authorize asks whether the sender of c may do what q says to m, and returns
// m as it is once the answer is there: asking may take minutes. It fails if
// the machine has gone, or has been replaced by somebody else's, meanwhile.
func (a *API) authorize(ctx context.Context, c *vtable.Call, m machine.Machine, q question) (machine.Machine, error) {
	caller, err := a.authority.BusCaller(ctx, c.Sender)
	if err != nil {
		return m, err
	}
	defer caller.Close()

	request := auth.Request{Action: q.action, Details: q.details, Interactive: c.Interactive}
	if q.ownerPasses {
		request.Owner = &m.UID
	}
	if _, err := a.authority.Check(ctx, caller, request); err != nil {
		return m, err
	}
	now, err := a.find(m.Name)
	if err != nil {
		return m, err
	}
	if now.UID != m.UID || now.Class != m.Class {
		return m, errNoSuchMachine(m.Name)
	}
	return now, nil
}
