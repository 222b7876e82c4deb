package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"strings"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/pkg/socket"
)

// A Container is a running machine of this host whose own bus is meant.
type Container struct {
	User string // of the machine; "" is root
	Name string // of the machine, or machine1.Host
}

// ParseContainer understands [USER@]CONTAINER, as other commands of systemd's
// do: where there is an @, what is left out before it is who we are, and behind
// it this host.
func ParseContainer(text string) (Container, error) {
	invalid := func(why string) error {
		return machine1.Errorf(machine1.ErrInvalidArgs, "%q is no [USER@]CONTAINER: %s", text, why)
	}
	name, who := text, ""
	if before, after, ok := strings.Cut(text, "@"); ok {
		if before == "" && after == "" {
			return Container{}, invalid("there is nothing around the @")
		}
		if after == "" {
			after = machine1.Host
		}
		if before == "" {
			self, err := user.Current()
			if err != nil {
				return Container{}, fmt.Errorf("cannot tell who we are: %w", err)
			}
			before = self.Username
		}
		who, name = before, after
	}
	switch {
	case !machine1.ValidLookupName(name):
		return Container{}, invalid("that cannot be a machine's name")
	case strings.HasPrefix(who, "-") || strings.ContainsAny(who, " \t\n/"):
		return Container{}, invalid("that cannot be a user")
	}
	return Container{who, name}, nil
}

func (c Container) String() string {
	if c.User == "" {
		return c.Name
	}
	return c.User + "@" + c.Name
}

// ConnectMachine connects to the bus in a machine of this host, to speak of the
// machines in it. Root gets there by itself, others by the machines' daemon, if
// that is machd and they may run commands in the machine. Descriptors pass.
func ConnectMachine(ctx context.Context, machine Container, options ...Option) (*Client, error) {
	if _, err := ParseContainer(machine.String()); err != nil {
		return nil, err
	}
	if machine == (Container{Name: machine1.Host}) && !wantsUserBus(options) {
		return Connect(ctx, options...)
	}
	return dial(ctx, options, machine.String(), func(ctx context.Context, r reach) (*dbus.Conn, func(), error) {
		program, err := exec.LookPath(bridge)
		if machine.Name != machine1.Host && (os.Geteuid() != 0 || err != nil) {
			return dialInside(ctx, machine, r)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("it takes %s, which comes with systemd: %w", bridge, err)
		}
		args := []string{program, "--machine=" + machine.String()}
		if r.user {
			args = append(args, "--user")
		}
		conn, end, err := bus.DialBridge(ctx, bus.Bridge{Args: args, Stderr: r.stderr, PassesFDs: true})
		return conn, end, machine.explain(err)
	})
}

func wantsUserBus(options []Option) bool {
	var c Client
	for _, option := range options {
		option(&c)
	}
	return c.reach.user
}

// explain recognises that there is no such machine, which the bridge says in
// other words.
func (c Container) explain(err error) error {
	var ended *bus.BridgeError
	if !errors.As(err, &ended) || c.Name == machine1.Host {
		return err
	}
	if _, statErr := os.Stat("/run/systemd/machines/" + c.Name); !errors.Is(statErr, fs.ErrNotExist) {
		return err
	}
	return &kindError{machine1.ErrNoSuchMachine, fmt.Errorf("no machine %q is known", c.Name)}
}

// dialInside has the machines' daemon run a bridge in the machine, on a socket
// of ours.
func dialInside(ctx context.Context, machine Container, r reach) (*dbus.Conn, func(), error) {
	var options []Option
	if r.askable {
		options = append(options, Interactive())
	}
	host, err := Connect(ctx, options...)
	if err != nil {
		return nil, nil, err
	}
	ours, theirs, err := socket.Pair(unix.SOCK_STREAM)
	if err != nil {
		host.Close()
		return nil, nil, err
	}
	command := ExecCommand{Args: []string{bridge}, User: machine.User, Stdin: theirs, Stdout: theirs, Stderr: r.stderr}
	if r.user {
		command.Args, command.Login = append(command.Args, "--user"), true
	}
	running, err := host.Exec(ctx, machine.Name, command)
	theirs.Close()
	if err != nil {
		ours.Close()
		host.Close()
		return nil, nil, err
	}
	end := func() {
		running.Close()
		host.Close()
	}
	conn, err := bus.DialOver(ctx, ours, true)
	if err == nil {
		return conn, end, nil
	}
	defer end()
	if outcome, waitErr := running.Wait(ctx); waitErr == nil && outcome.Message != "" {
		err = errors.New(outcome.Message)
	}
	return nil, nil, fmt.Errorf("%s in %q leads to no bus: %w", bridge, machine.Name, err)
}
