// Package varlinkapi is the face of the daemon on Varlink: it serves
// io.systemd.Machine from a literal table. A handler decides nothing: it asks
// polkit, calls the domain, and names the result. It must not know how a
// message is read or how a machine is kept.
package varlinkapi

import (
	"context"
	"fmt"
	"log/slog"
	"net"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/auth"
	"github.com/machd/machd/daemon/internal/machine"
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
}

// Inside looks into machines; *inside.Guard does.
type Inside interface {
	OSRelease(ctx context.Context, leader *proc.PIDFD) (map[string]string, error)
}

// Config is what the API stands on.
type Config struct {
	Machines  Machines
	Authority access.Authority // *auth.Authority
	Inside    Inside
	LogLevel  *slog.LevelVar
	Version   string // of machd
	Log       *slog.Logger

	// Identify tells who is at the other end; auth.PeerCaller if nil.
	Identify func(*net.UnixConn) (auth.Caller, error)
}

// API is all that is served on the Varlink sockets.
type API struct {
	machines  Machines
	authority access.Authority
	inside    Inside
	identify  func(*net.UnixConn) (auth.Caller, error)
	logLevel  *slog.LevelVar
	bootID    string
	server    *varlink.Server
}

// New returns the API; Serve makes it answer.
func New(cfg Config) (*API, error) {
	bootID, err := proc.BootID()
	if err != nil {
		return nil, fmt.Errorf("cannot read the boot ID: %w", err)
	}
	a := &API{
		machines:  cfg.Machines,
		authority: cfg.Authority,
		inside:    cfg.Inside,
		identify:  cfg.Identify,
		logLevel:  cfg.LogLevel,
		bootID:    bootID,
		server: varlink.NewServer(varlink.Config{
			Vendor:  "machd",
			Product: "machd (systemd-machined)",
			Version: cfg.Version,
			URL:     "https://github.com/machd/machd",
			ErrorOf: errorOf,
			Log:     cfg.Log,
		}),
	}
	if a.identify == nil {
		a.identify = auth.PeerCaller
	}
	varlink.Add(a.server, &machineInterface, a)
	varlink.Add(a.server, &serviceInterface, a)
	varlink.Add(a.server, &systemdInterface, a)
	return a, nil
}

// Listen binds the socket that registrants look for. It is not needed where
// systemd passes one.
func Listen() (*net.UnixListener, error) { return varlink.Listen(machine1.VarlinkSocket, 0o666) }

// Serve answers on l, which it closes, until ctx ends.
func (a *API) Serve(ctx context.Context, l *net.UnixListener) error { return a.server.Serve(ctx, l) }

// A question is one row of the authorization matrix, filled in.
type question struct {
	action  string
	details map[string]string
	// ownerPasses lets the user who registered the machine through unasked.
	ownerPasses bool
}

// authorize asks whether the caller may do what q says to m, and returns m as
// it is once the answer is there: asking may take minutes. It fails if the
// machine has gone, or has been replaced by another, meanwhile.
func (a *API) authorize(ctx context.Context, c *varlink.Call, m machine.Machine, q question) (machine.Machine, error) {
	var owner *uint32
	if q.ownerPasses {
		owner = &m.UID
	}
	if err := a.ask(ctx, c, q, owner); err != nil {
		return m, err
	}
	now, ok := a.machines.View().Get(m.Name)
	if !ok || now.UID != m.UID || now.Monotonic != m.Monotonic {
		return m, errNoSuchMachine
	}
	return now, nil
}

func (a *API) ask(ctx context.Context, c *varlink.Call, q question, owner *uint32) error {
	caller, err := a.identify(c.Conn)
	if err != nil {
		return err
	}
	defer caller.Close()
	_, err = a.authority.Check(ctx, caller, auth.Request{
		Action:      q.action,
		Details:     q.details,
		Interactive: c.In.Bool(interactiveField),
		Owner:       owner,
	})
	return err
}
