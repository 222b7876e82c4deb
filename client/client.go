// Package client lists, watches, starts, stops and enters the machines of this
// host: containers and virtual machines registered with machd or any other
// server of org.freedesktop.machine1.
//
// It owns the calls and what they mean, and nothing that is shown to a person.
// Every call is bounded by its context only. Errors wrap those of package
// machine1, so that
//
//	errors.Is(err, machine1.ErrNoSuchMachine)
//
// holds for whatever the daemon refused.
package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
)

// connectTimeout is how long a bus may take to greet us.
const connectTimeout = 25 * time.Second

// A Client is a connection to the bus that the machines' daemon is on. It may
// be used from several goroutines.
type Client struct {
	conn        *dbus.Conn
	end         func()
	interactive bool
	reach       reach
	sockets     string // directory of the sockets of services beside that bus; "" if they are out of reach
}

// An Option changes how a client behaves.
type Option func(*Client)

// Interactive lets the daemon ask the user for a password before it does what
// is not allowed without one. Such a call can take as long as a person does.
func Interactive() Option {
	return func(c *Client) { c.interactive = true }
}

// Plain makes connecting to a bus of this host cheaper for a client that makes no
// call which passes descriptors, such as Shell and Exec: they are ErrNotSupported.
func Plain() Option { return func(c *Client) { c.reach.plain = true } }

// Connect connects to the system bus, that of $DBUS_SYSTEM_BUS_ADDRESS if it
// is set. The daemon need not run: the bus starts it on the first call. The
// connection ends with ctx or with Close.
func Connect(ctx context.Context, options ...Option) (*Client, error) {
	address := bus.SystemAddress()
	if address == bus.DefaultSystemAddress {
		options = append(options, beside("/run/systemd"))
	}
	return Dial(ctx, address, options...)
}

// beside says where services of the bus have sockets of their own.
func beside(dir string) Option { return func(c *Client) { c.sockets = dir } }

// ConnectUser is Connect for the bus of the user's own, where the machines that
// his service manager runs are known.
func ConnectUser(ctx context.Context, options ...Option) (*Client, error) {
	address, err := bus.UserAddress()
	if err != nil {
		return nil, &kindError{machine1.ErrDisconnected, err}
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" && address == "unix:path="+dir+"/bus" {
		options = append(options, beside(dir+"/systemd"))
	}
	return Dial(ctx, address, options...)
}

// Dial is Connect for the bus at a D-Bus address, such as
// "unix:path=/run/dbus/system_bus_socket".
func Dial(ctx context.Context, address string, options ...Option) (*Client, error) {
	return dial(ctx, options, address, func(ctx context.Context, r reach) (*dbus.Conn, func(), error) {
		connect := bus.Dial
		if r.plain {
			connect = bus.DialPlain
		}
		conn, err := connect(ctx, address)
		return conn, func() {}, err
	})
}

// dial makes a client of the connection that open returns, with what is to be
// done when it has been closed. Where names the bus in errors.
func dial(ctx context.Context, options []Option, where string, open func(context.Context, reach) (*dbus.Conn, func(), error)) (*Client, error) {
	c := &Client{reach: reach{patience: connectTimeout}}
	for _, option := range options {
		option(c)
	}
	c.reach.askable = c.interactive
	within, cancel := context.WithCancel(ctx)
	patience := time.AfterFunc(c.reach.patience, cancel)
	conn, end, err := open(within, c.reach)
	if err != nil {
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil, overtime("the bus at "+where, ctx.Err())
		case !patience.Stop():
			return nil, fmt.Errorf("the bus at %s does not answer: %w", where, machine1.ErrTimeout)
		}
		return nil, &kindError{machine1.ErrDisconnected, err}
	}
	patience.Stop()
	c.conn, c.end = conn, func() { cancel(); end() }
	return c, nil
}

// Silent returns a client on the same connection that lets nobody be asked for
// a password.
func (c *Client) Silent() *Client {
	silent := *c
	silent.interactive = false
	return &silent
}

// Close ends the connection. Calls under way end with ErrDisconnected.
func (c *Client) Close() error {
	defer c.end()
	return c.conn.Close()
}

var (
	machined = bus.Target{Name: machine1.BusName, Path: machine1.ObjectPath}
	systemd  = bus.Target{Name: systemdName, Path: systemdPath}
)

// ask calls a method of the machine manager that changes nothing. If the
// daemon ends over it, the one that follows is asked again.
func (c *Client) ask(ctx context.Context, member string, in []any, out ...any) error {
	return c.inquire(ctx, machine1.ManagerInterface+"."+member, in, out...)
}

// inquire is ask for a method of any interface.
func (c *Client) inquire(ctx context.Context, method string, in []any, out ...any) error {
	return throughRestart(ctx, func() error { return c.call(ctx, machined, method, in, out...) })
}

const (
	// restartLimit is how long a daemon that ends may take to be another one.
	restartLimit = 15 * time.Second
	restartPause = 50 * time.Millisecond

	// heardAfter is how long a daemon takes to answer or refuse a call while it
	// ends: one that took longer did not end yet when it heard the call.
	heardAfter = time.Second
)

// throughRestart repeats a call for as long as the daemon ends over it. The one
// that ends may be who is asked once more. One that heard the call for a while
// was there: from its end on the next one has its time.
func throughRestart(ctx context.Context, call func() error) error {
	return repeatOn(ctx, machine1.ErrNoReply, call)
}

// repeatOn is throughRestart for those whom a daemon that ends answers so.
func repeatOn(ctx context.Context, ending error, call func() error) error {
	var again time.Time
	for {
		asked := time.Now()
		err := call()
		if !errors.Is(err, ending) {
			return err
		}
		if again.IsZero() || time.Since(asked) > heardAfter {
			again = time.Now().Add(restartLimit)
		}
		if !time.Now().Before(again) {
			return err
		}
		select {
		case <-time.After(restartPause):
		case <-ctx.Done():
			return overtime("the daemon that comes next", ctx.Err())
		}
	}
}

// tell calls a method of the machine manager, once.
func (c *Client) tell(ctx context.Context, member string, in []any, out ...any) error {
	return c.call(ctx, machined, machine1.ManagerInterface+"."+member, in, out...)
}

// call calls a method and puts the reply's values into out. Errors say nothing
// about the call itself: the caller knows what it was for.
func (c *Client) call(ctx context.Context, to bus.Target, member string, in []any, out ...any) error {
	err := bus.Call(ctx, c.conn, to, member, c.interactive, in, out...)
	return c.explain(ctx, to.Name, err)
}

// explain gives the errors that came from no daemon their kind.
func (c *Client) explain(ctx context.Context, name string, err error) error {
	var remote *machine1.RemoteError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &remote):
		return absent(name, remote)
	case errors.Is(err, context.DeadlineExceeded):
		return overtime(name, err)
	case ctx.Err() != nil:
		return overtime(name, ctx.Err())
	case errors.Is(err, machine1.ErrDisconnected), errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), errors.Is(err, dbus.ErrClosed),
		errors.Is(err, unix.EPIPE), errors.Is(err, unix.ECONNRESET):
		return fmt.Errorf("the bus connection was lost: %w", machine1.ErrDisconnected)
	case !c.conn.Connected():
		return fmt.Errorf("the bus connection was lost: %w", machine1.ErrDisconnected)
	case !c.conn.SupportsUnixFDs() && strings.Contains(err.Error(), "unix fd passing"):
		// So says the library, and has no name for it.
		if c.reach.plain {
			return errPlain
		}
		return errNoDescriptors
	}
	return err
}

// overtime makes an ErrTimeout of the end of a context whose deadline has passed
// before an answer from somebody came. It leaves other errors as they are.
func overtime(from string, err error) error { return late("no answer from "+from, err) }

// late is overtime for what else has not come.
func late(missing string, err error) error {
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &kindError{context.DeadlineExceeded, fmt.Errorf("%s: %w", missing, machine1.ErrTimeout)}
}

// Errors of calls with files, where the connection passes none.
var (
	errNoDescriptors = machine1.Errorf(machine1.ErrNotSupported, "it takes files, and a connection to another host passes none")
	errPlain         = machine1.Errorf(machine1.ErrNotSupported, "it takes files, and this client was connected with Plain")
)

// absent recognises, among the errors of the bus, that nobody answers as name
// and nobody could be started to.
func absent(name string, err *machine1.RemoteError) error {
	unit := strings.HasPrefix(err.Name, systemdName) && strings.Contains(err.Text, "dbus-"+name+".service")
	switch {
	case errors.Is(err, machine1.ErrServiceUnknown):
	case unit, strings.HasPrefix(err.Name, "org.freedesktop.DBus.Error.Spawn."), err.Name == "org.freedesktop.DBus.Error.TimedOut":
	default:
		return err
	}
	text := fmt.Errorf("nobody answers as %s, and the bus cannot start it: %s", name, err)
	return &kindError{machine1.ErrServiceUnknown, text}
}

// A kindError is an error of a kind that its text need not repeat.
type kindError struct {
	kind error
	err  error
}

func (e *kindError) Error() string   { return e.err.Error() }
func (e *kindError) Unwrap() []error { return []error{e.kind, e.err} }
