// Package varlinkapi is the face of the daemon on Varlink: it serves the
// interfaces of systemd-machined and our own from literal tables, one file per
// interface. A handler decides nothing: it asks polkit, calls the domain, and
// names the result. It must not know how a message is read or how a machine is
// kept.
package varlinkapi

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/account"
	"github.com/machd/machd/daemon/internal/auth"
	"github.com/machd/machd/daemon/internal/envfile"
	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/operation"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/varlink"
	"github.com/machd/machd/pkg/machine1"
)

// Machines is the domain; *machine.Manager is it.
type Machines interface {
	View() *machine.View
	ByPID(ctx context.Context, p *proc.PIDFD) (machine.Machine, error)
	Register(ctx context.Context, r machine.Registration) (machine.Machine, error)
	Create(ctx context.Context, r machine.Registration, scope []machine1.Property, wait bool) (machine.Machine, error)
	Unregister(ctx context.Context, name string) error
	Terminate(ctx context.Context, name string) error
	Kill(ctx context.Context, name, whom string, signal int32) error
	MapFrom(ctx context.Context, name string, kind machine.IDKind, inner uint32) (uint32, error)
	MapTo(ctx context.Context, kind machine.IDKind, outer uint32) (machine.Machine, uint32, error)
	Usage(ctx context.Context) ([]machine.Usage, error)
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
	SetPoolLimit(ctx context.Context, limit uint64) error
	Clean(ctx context.Context, mode image.CleanMode, done func(image.Removed)) error
	Measure(ctx context.Context, i image.Image) (uint64, error)
	SetPassword(ctx context.Context, i image.Image, user string, password account.Password) error
	Snapshots(ctx context.Context, name string) ([]image.Snapshot, error)
	CreateSnapshot(ctx context.Context, i image.Image, snapshot string) error
	RestoreSnapshot(ctx context.Context, name, snapshot string) (before string, err error)
	RemoveSnapshot(ctx context.Context, name, snapshot string) error
}

// Inside goes into machines; *inside.Guard does.
type Inside interface {
	OSReleaseList(ctx context.Context, leader *proc.PIDFD) (envfile.List, error)
	OpenPTY(ctx context.Context, leader *proc.PIDFD) (*inside.PTY, error)
	StartLogin(ctx context.Context, leader *proc.PIDFD, name string) (*inside.PTY, error)
	StartShell(ctx context.Context, leader *proc.PIDFD, name string, s inside.Shell) (*inside.PTY, error)
	OpenRoot(ctx context.Context, leader *proc.PIDFD) (*os.File, error)
	Bind(ctx context.Context, leader *proc.PIDFD, name string, b inside.Bind) error
	Unbind(ctx context.Context, leader *proc.PIDFD, destination string) error
	CopyFrom(ctx context.Context, leader *proc.PIDFD, c inside.Copy) error
	CopyTo(ctx context.Context, leader *proc.PIDFD, c inside.Copy) error
}

// Launcher starts and ends machines; *launch.Launcher does.
type Launcher interface {
	Starter
	Runner
	Planner
	Ender
	PortSaver
}

// Config is what the API stands on.
type Config struct {
	Machines   Machines
	Images     Images
	Maker      ImageMaker
	Inside     Inside
	Launcher   Launcher
	Sessions   Sessions
	Overview   Overview
	Network    Networker // nil if somebody else sees to the networks of machines
	Doctor     Doctor    // nil if there is none
	Operations *operation.Set
	Access     *access.Gate
	LogLevel   *slog.LevelVar
	Version    string // of machd
	Log        *slog.Logger

	// Identify tells who is at the other end; auth.PeerCaller if nil.
	Identify func(*net.UnixConn) (auth.Caller, error)
}

// API is all that is served on the Varlink sockets.
type API struct {
	Config
	bootID  string
	changes changes

	// What each kind of socket serves. They share the process's descriptors.
	machineServer, userServer, hookServer *varlink.Server
	limits                                *varlink.Limits
}

// Pulse returns how many connections have come so far, and whether one is there
// now.
func (a *API) Pulse() (connections uint64, busy bool) { return a.limits.Pulse() }

// New returns the API; Serve makes it answer. It must be told of every event
// of the machines from then on, by Announce.
func New(cfg Config) (*API, error) {
	bootID, err := proc.BootID()
	if err != nil {
		return nil, fmt.Errorf("cannot read the boot ID: %w", err)
	}
	if cfg.Identify == nil {
		cfg.Identify = auth.PeerCaller
	}
	a := &API{Config: cfg, bootID: bootID, changes: changes{view: cfg.Machines.View()}}

	a.limits = varlink.NewLimits()
	a.machineServer = a.newServer()
	for _, i := range []*varlink.Interface[*API]{
		&machineInterface, &imageInterface, &serviceInterface, &ownMachineInterface, &ownImageInterface,
	} {
		varlink.Add(a.machineServer, i, a)
	}
	a.userServer = a.newServer()
	varlink.Add(a.userServer, &userInterface, a)
	a.hookServer = a.newServer()
	varlink.Add(a.hookServer, &hookInterface, a)
	return a, nil
}

func (a *API) newServer() *varlink.Server {
	s := varlink.NewServer(varlink.Config{
		Vendor:  "machd",
		Product: "machd (systemd-machined)",
		Version: a.Version,
		URL:     "https://github.com/machd/machd",
		ErrorOf: errorOf,
		Log:     a.Log,
		Limits:  a.limits,
	})
	varlink.Add(s, &systemdInterface, a)
	return s
}

// Announce takes note of e for those who follow what happens. It does not
// block, so the registry may call it while it holds its lock.
func (a *API) Announce(e machine.Event) { a.changes.add(e, a.Machines.View()) }

// authorize asks whether the caller may do to m what rule is about, and returns
// m as it is once the answer is there: asking may take minutes.
func (a *API) authorize(ctx context.Context, c *varlink.Call, m machine.Machine, rule access.Rule,
	details map[string]string) (machine.Machine, error) {
	caller, err := a.Identify(c.Conn)
	if err != nil {
		return m, err
	}
	defer caller.Close()
	return a.Access.Machine(ctx, caller, m, question(c, rule, details))
}

// ask is authorize for what is not one machine's.
func (a *API) ask(ctx context.Context, c *varlink.Call, rule access.Rule, details map[string]string) error {
	caller, err := a.Identify(c.Conn)
	if err != nil {
		return err
	}
	defer caller.Close()
	return a.Access.Ask(ctx, caller, question(c, rule, details))
}

func question(c *varlink.Call, rule access.Rule, details map[string]string) access.Question {
	return access.Question{Rule: rule, Details: details, Interactive: c.In.Bool(interactiveField)}
}
