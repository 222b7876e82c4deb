// Package busapi is the face of the daemon on D-Bus: it serves
// org.freedesktop.machine1 from literal tables, one file per interface. A
// handler decodes nothing and decides nothing: it asks polkit, calls the
// domain, and names the result. It must not know how a bus message is read or
// how a machine is kept.
package busapi

import (
	"context"
	"log/slog"
	"os"
	"sync/atomic"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/account"
	"github.com/machd/machd/daemon/internal/auth"
	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/operation"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/machine1"
)

// Inside reaches into machines; *inside.Guard does.
type Inside interface {
	OSRelease(ctx context.Context, leader *proc.PIDFD) (map[string]string, error)
	OpenPTY(ctx context.Context, leader *proc.PIDFD) (*inside.PTY, error)
	StartLogin(ctx context.Context, leader *proc.PIDFD, name string) (*inside.PTY, error)
	StartShell(ctx context.Context, leader *proc.PIDFD, name string, s inside.Shell) (*inside.PTY, error)
	OpenRoot(ctx context.Context, leader *proc.PIDFD) (*os.File, error)
	Bind(ctx context.Context, leader *proc.PIDFD, name string, b inside.Bind) error
	Unbind(ctx context.Context, leader *proc.PIDFD, destination string) error
	CopyFrom(ctx context.Context, leader *proc.PIDFD, c inside.Copy) error
	CopyTo(ctx context.Context, leader *proc.PIDFD, c inside.Copy) error
}

// Images is the domain of images; *image.Store is it.
type Images interface {
	List(ctx context.Context) ([]image.Image, error)
	Get(ctx context.Context, name string) (image.Image, error)
	Metadata(ctx context.Context, i image.Image) (image.Metadata, error)
	Remove(ctx context.Context, i image.Image, keep image.Settings) error
	Rename(ctx context.Context, i image.Image, newName string) error
	Clone(ctx context.Context, i image.Image, newName string, readOnly bool) error
	SetReadOnly(ctx context.Context, i image.Image, readOnly bool) error
	SetLimit(ctx context.Context, i image.Image, limit uint64) error
	Pool(ctx context.Context) (image.Pool, error)
	SetPoolLimit(ctx context.Context, limit uint64) error
	Clean(ctx context.Context, mode image.CleanMode, done func(image.Removed)) error
	Measure(ctx context.Context, i image.Image) (uint64, error)
	SetPassword(ctx context.Context, i image.Image, user string, password account.Password) error
	Snapshots(ctx context.Context, name string) ([]image.Snapshot, error)
	CreateSnapshot(ctx context.Context, i image.Image, snapshot string) error
	RestoreSnapshot(ctx context.Context, name, snapshot string) (before string, err error)
	RemoveSnapshot(ctx context.Context, name, snapshot string) error
}

// Callers tells who is behind a name on the bus; *auth.Authority does.
type Callers interface {
	BusCaller(ctx context.Context, sender string) (auth.Caller, error)
	// Attend is BusCaller and a context that ends when the caller leaves.
	Attend(ctx context.Context, sender string) (_ context.Context, c auth.Caller, done func(), err error)
}

// Launcher starts and ends machines; *launch.Launcher does.
type Launcher interface {
	Starter
	Planner
	Runner
	Ender
	PortSaver
}

// Config is what the API stands on.
type Config struct {
	Machines   *machine.Manager
	Images     Images
	Maker      ImageMaker
	Inside     Inside
	Launcher   Launcher
	Sessions   Sessions
	Overview   Overview
	Network    Networker // nil if somebody else sees to the networks of machines
	Doctor     Doctor    // nil if there is none
	Operations *operation.Set
	Authority  Callers
	Access     *access.Gate
	LogLevel   *slog.LevelVar
}

// API is every object below /org/freedesktop/machine1, and LogControl1.
type API struct {
	machines   *machine.Manager
	images     Images
	maker      ImageMaker
	inside     Inside
	launcher   Launcher
	sessions   Sessions
	overview   Overview
	network    Networker
	doctor     Doctor
	operations *operation.Set
	callers    Callers
	gate       *access.Gate
	logLevel   *slog.LevelVar

	listing atomic.Pointer[listing] // the last one
}

// New returns the API. It serves once a vtable.Server has it as its Tree.
func New(cfg Config) *API {
	return &API{
		machines:   cfg.Machines,
		images:     cfg.Images,
		maker:      cfg.Maker,
		inside:     cfg.Inside,
		launcher:   cfg.Launcher,
		sessions:   cfg.Sessions,
		overview:   cfg.Overview,
		network:    cfg.Network,
		doctor:     cfg.Doctor,
		operations: cfg.Operations,
		callers:    cfg.Authority,
		gate:       cfg.Access,
		logLevel:   cfg.LogLevel,
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
func (a *API) find(name string) (*machine.Machine, error) {
	m := a.machines.View().Lookup(name)
	if m == nil {
		return nil, access.NoSuchMachine(name)
	}
	return m, nil
}

// ask asks whether the sender of c may do what rule is about, where that is
// not one machine's.
func (a *API) ask(ctx context.Context, c *vtable.Call, rule access.Rule, details map[string]string) error {
	caller, err := a.callers.BusCaller(ctx, c.Sender)
	if err != nil {
		return err
	}
	defer caller.Close()
	return a.gate.Ask(ctx, caller, access.Question{Rule: rule, Details: details, Interactive: c.Interactive})
}
