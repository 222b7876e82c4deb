package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/machd/machd/client"
	"github.com/machd/machd/pkg/machd"
)

// runInMachine has a verb run by machctl in the machine whose machines are spoken
// of, as exec runs commands: it reads files that are there, and an archive goes
// to it or comes from it as it is.
func (a *app) runInMachine(cmd *cobra.Command, args []string) error {
	verb, inside, user := cmd.Name(), a.machine, a.user
	command := client.ExecCommand{
		Args: append([]string{"sh", "-c", a.settingThere() + runMachctl + "exit 127", "machctl"}, a.farWords(cmd, verb, args)...),
		User: inside.User,
	}
	terminal := a.wantsTerminal(verb)
	// The machine itself is one of this host's.
	a.machine, a.user = machineFlag{}, false
	ctx := cmd.Context()
	if err := a.actOn(ctx, inside.Name, machd.ActionExec); err != nil {
		return err
	}
	run := func(ctx context.Context, command client.ExecCommand) (*client.Execution, error) {
		command.Login = user // whose service manager begins with a session
		running, err := a.client.Exec(ctx, inside.Name, command)
		if err != nil {
			err = inside.withNeeds(err)
		}
		return running, err
	}
	var err error
	if terminal {
		command.Terminal, command.Env = true, a.shellEnvironment()
		err = a.execOnTerminal(ctx, command, run)
	} else {
		err = a.execHere(ctx, command, run)
	}
	var status statusError
	var failed *commandError
	switch {
	case errors.As(err, &status) && status == shellNotFound:
		return lacksMachctl(inside.Name, verb, "")
	case errors.As(err, &failed):
		return fmt.Errorf("cannot run machctl in %q: %s", inside.Name, failed.text)
	}
	return err
}
