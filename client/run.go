package client

import (
	"context"
	"fmt"
	"os"

	"github.com/machd/machd/pkg/machd"
)

// A RunCommand is a machine to be run once, and what with.
type RunCommand struct {
	// Options are those of a start, but for VM, Save and Wait. The image is Options.Image, and what the
	// machine writes to it is thrown away. Options.Command is what to run; without
	// one the machine boots.
	Options machd.StartOptions

	// Terminal asks for a new terminal. The files are not used then.
	Terminal bool
	// The files go to the machine as they are, as those of an ExecCommand do.
	Stdin, Stdout, Stderr *os.File
}

// Run runs a machine called name that is thrown away, and returns when it is
// being started: Wait says how it ended, also if it never began, when nothing of
// it is left. It takes machd; systemd-machined is ErrNotSupported.
//
// Reference: docs/api.md, RunMachine.
func (c *Client) Run(ctx context.Context, name string, command RunCommand) (*Execution, error) {
	stdio, err := ExecCommand{
		Terminal: command.Terminal, Stdin: command.Stdin, Stdout: command.Stdout, Stderr: command.Stderr,
	}.stdio()
	if err == nil {
		defer stdio.close()
		options := machd.RunOptions{StartOptions: command.Options, Terminal: command.Terminal}
		var x *Execution
		if x, err = c.hold(ctx, "RunMachine", []any{name, stdio.fds, options.Variants()}); err == nil {
			x.toTheEnd = true
			return x, nil
		}
	}
	return nil, fmt.Errorf("cannot run %q: %w", name, err)
}
