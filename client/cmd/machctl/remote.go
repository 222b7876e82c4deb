package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

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

	outer   string // options that lead from who has asked to where we run
	halfway bool   // we have not got there, so what helps is on this side
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

// itself is the host, where a machine of it may be meant.
func (h hostFlag) itself() client.Host {
	h.Container = ""
	return h.Host
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
	a.halfway = true
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
			return &hintedError{reached, fmt.Sprintf(`"machctl -H %s list" shows the machines that run there; %q needs a system bus in it, and only root gets to that`,
				a.host.itself(), a.host.Container)}
		}
		return &hintedError{reached, fmt.Sprintf(`"ssh %s true" has to work first: the user needs a shell there, and the host a system bus`, a.sshName())}
	}
	return reached
}

// explainMachine says the same of a machine.
func (a *app) explainMachine(err error) error {
	if err == nil {
		return nil
	}
	a.halfway = true
	err = fmt.Errorf("cannot reach the bus in %q: %w", a.machine.Name, err)
	return a.machine.withNeeds(err)
}

// withNeeds tells them where an error does not say itself what is missing.
func (m machineFlag) withNeeds(err error) error {
	for _, known := range []error{machine1.ErrNoSuchMachine, machine1.ErrAccessDenied, machine1.ErrInteractionRequired, machine1.ErrNotSupported} {
		if errors.Is(err, known) {
			return err
		}
	}
	return &hintedError{err, m.needs()}
}

// needs is what it takes to get into the machine.
func (m machineFlag) needs() string {
	user := ""
	if m.User != "" {
		user = fmt.Sprintf("a user %q in it, ", m.User)
	}
	return "this needs a system bus running in the machine, " + user + "and the right to enter it; it may still be booting"
}

func (o *options) sshName() string { return sshName(o.host.Host) }

// sshName is the host as ssh itself is told of it.
func sshName(host client.Host) string {
	name := ""
	if host.Port != 0 {
		name = fmt.Sprintf("-p %d ", host.Port)
	}
	if host.User != "" {
		name += host.User + "@"
	}
	return name + host.Name
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
	"bind-volume": there, "unbind-volume": there,
	"copy-to": copies, "copy-from": copies,
	"import-tar": images, "import-raw": images, "import-fs": images, "export-tar": images, "export-raw": images,
}

// wayOf is the way of a verb. Those of the stock command that copy do it between
// files of there, and those about volumes refuse it.
func (a *app) wayOf(verb string) way {
	how := ways[verb]
	if a.stock && (how == copies || strings.HasSuffix(verb, "-volume")) {
		return byBus
	}
	return how
}

// carryOut runs a verb here, or has it run where the machines are.
func (a *app) carryOut(cmd *cobra.Command, args []string, here func() error) error {
	how := a.wayOf(cmd.Name())
	ofArchive := how == copies && isOfArchive(cmd.Name(), args)
	if how == copies && slices.Contains(args[1:], "") {
		return usagef("%s: a PATH is empty", cmd.Name()) // it is none that was left out
	}
	if ofArchive {
		if err := checkArchive(cmd.Name(), args); err != nil {
			return err
		}
	}
	switch {
	case !a.elsewhere() || how == byBus:
		return here()
	case !a.host.given && (how == there || ofArchive):
		return a.runInMachine(cmd, args)
	case !a.host.given:
		return here()
	case how == copies && !ofArchive:
		return a.copyByHost(cmd, args)
	case how == images:
		return a.transferByHost(cmd, args)
	}
	return a.runThere(cmd, args)
}
