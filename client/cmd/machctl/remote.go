package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/machd/machd/client"
	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
)

// remoteOptions say whose machines are spoken of, if not this host's.
type remoteOptions struct {
	host    hostFlag
	machine machineFlag
}

func (o *options) addRemoteFlags(f *pflag.FlagSet) {
	f.VarP(&o.host, "host", "H", "Speak of the machines of `[USER@]HOST[:PORT][/CONTAINER]`, by ssh")
	f.VarP(&o.machine, "machine", "M", "Speak of the machines in the machine `[USER@]CONTAINER`")
}

// hostFlag is the value of --host.
type hostFlag struct {
	client.Host
	given bool
}

func (h *hostFlag) Set(text string) (err error) {
	h.Host, err = client.ParseHost(text)
	h.given = true
	return err
}

func (h *hostFlag) Type() string { return "HOST" }

func (h hostFlag) String() string {
	if !h.given {
		return ""
	}
	return h.Host.String()
}

// machineFlag is the value of --machine.
type machineFlag struct {
	client.Container
	given bool
}

func (m *machineFlag) Set(text string) (err error) {
	m.Container, err = client.ParseContainer(text)
	m.given = true
	return err
}

func (m *machineFlag) Type() string  { return "CONTAINER" }
func (m machineFlag) String() string { return m.Container.String() }

// elsewhere reports whether the machines are not this host's, so that its files
// and its journal tell nothing about them.
func (o *options) elsewhere() bool {
	return o.host.given || o.machine.given && o.machine.Name != machine1.Host
}

// checkRemote refuses to be told of two places.
func (o *options) checkRemote() error {
	if o.host.given && o.machine.given {
		return usagef("--host and --machine are two places; a machine of a host is --host=%s/%s", o.host.Name, o.machine.Name)
	}
	return nil
}

// place names where the machines are, for systemctl and such: its options.
func (o *options) place() string {
	switch {
	case o.host.given:
		return " -H " + o.host.String()
	case o.machine.given:
		return " -M " + o.machine.String()
	}
	return ""
}

// dial connects to the bus of whose machines are spoken of.
func (a *app) dial(ctx context.Context, options ...client.Option) (*client.Client, error) {
	switch {
	case a.host.given:
		return a.dialHost(ctx, options)
	case a.machine.given:
		if a.user {
			options = append(options, client.UserBus())
		}
		c, err := client.ConnectMachine(ctx, a.machine.Container, options...)
		return c, a.explainMachine(err)
	case a.user:
		return client.ConnectUser(ctx, options...)
	}
	return client.Connect(ctx, options...)
}

func (a *app) dialHost(ctx context.Context, options []client.Option) (*client.Client, error) {
	options = append(options, client.Stderr(os.Stderr))
	if a.user {
		options = append(options, client.UserBus())
	}
	if personIsHere() {
		options = append(options, client.Patience(personTimeout))
	}
	c, err := interruptible(ctx, func(ctx context.Context) (*client.Client, error) {
		return client.ConnectHost(ctx, a.host.Host, options...)
	})
	if err == nil {
		return c, nil
	}
	return nil, a.explainHost(err)
}

// personIsHere reports whether there is a terminal on which ssh can ask for a
// password.
func personIsHere() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	tty.Close()
	return true
}

// Exit statuses of ssh and of the shell that it runs commands with.
const (
	sshFailed       = 255
	shellNotFound   = 127
	bridgeWentWrong = 1
)

// explainHost says of a host that has not been reached what to do.
func (a *app) explainHost(err error) error {
	reached := fmt.Errorf("cannot reach the bus of %s: %w", a.host, err)
	var ended *bus.BridgeError
	switch {
	case errors.Is(err, machine1.ErrTimeout):
		return &hintedError{reached, fmt.Sprintf(`"ssh %s true" tells whether it answers at all`, a.sshName())}
	case !errors.As(err, &ended):
		return reached
	}
	switch ended.Status {
	case sshFailed:
		return &hintedError{reached, fmt.Sprintf(`"ssh %s" has to work first`, a.sshName())}
	case shellNotFound:
		return &hintedError{reached, "systemd-stdio-bridge, which comes with systemd, has to be installed there"}
	case bridgeWentWrong:
		if a.user {
			return &hintedError{reached, `a user has a bus while he is logged in there, or always after "loginctl enable-linger"`}
		}
		if a.host.Container != "" {
			there := a.host.Host
			there.Container = ""
			return &hintedError{reached, fmt.Sprintf(`"machctl -H %s list" shows the machines that run there`, there)}
		}
	}
	return reached
}

// explainMachine says the same of a machine.
func (a *app) explainMachine(err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("cannot reach the bus in %q: %w", a.machine.Name, err)
	for _, known := range []error{machine1.ErrNoSuchMachine, machine1.ErrAccessDenied, machine1.ErrInteractionRequired} {
		if errors.Is(err, known) {
			return err
		}
	}
	return &hintedError{err, "this needs a system bus running in the machine, and the right to enter it; it may still be booting"}
}

// sshName is the host as ssh itself is told of it.
func (o *options) sshName() string {
	name := ""
	if o.host.Port != 0 {
		name = fmt.Sprintf("-p %d ", o.host.Port)
	}
	if o.host.User != "" {
		name += o.host.User + "@"
	}
	return name + o.host.Name
}

// A way is how a verb works where the machines are not this host's.
type way int

const (
	byBus  way = iota // by calls to the bus there, as here
	there             // by machctl there: it needs files, descriptors or the journal
	either            // by calls that pass descriptors where a bus of this host is asked, else by machctl there
	copies            // between the files of this host and the machine
	images            // likewise of images
)

// ways are those of the verbs that need more than the bus.
var ways = map[string]way{
	"login": either, "shell": either, "exec": either, "run": either,
	"logs": there, "history": there, "cat": there, "edit": there, "doctor": there,
	"copy-to": copies, "copy-from": copies,
	"import-tar": images, "import-raw": images, "import-fs": images, "export-tar": images, "export-raw": images,
}

// carryOut runs a verb here, or has it run where the machines are.
func (a *app) carryOut(cmd *cobra.Command, args []string, here func() error) error {
	how := ways[cmd.Name()]
	switch {
	case !a.elsewhere() || how == byBus:
		return here()
	case !a.host.given && how == there:
		return a.refuseInMachine(cmd, args)
	case !a.host.given:
		return here()
	case how == copies && !a.stock && !slices.Contains(args[1:], "-"):
		return a.copyByHost(cmd, args)
	case how == copies && a.stock:
		return here()
	case how == images:
		return a.transferByHost(cmd, args)
	}
	return a.runThere(cmd, args)
}

// refuseInMachine is for verbs that read files of the host whose machines are
// spoken of, which here is a machine.
func (a *app) refuseInMachine(cmd *cobra.Command, args []string) error {
	line := "machctl " + cmd.Name()
	for _, arg := range args {
		line += " " + arg
	}
	return &hintedError{
		machine1.Errorf(machine1.ErrNotSupported, "%s reads files that --machine does not lead to", cmd.Name()),
		fmt.Sprintf(`"machctl exec %s -- %s" runs it in there`, a.machine, line),
	}
}
