package main

import (
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/machd/machd/client"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

const runHelp = `IMAGE is the name of an image or a path. What the machine writes is thrown away,
and the machine ends with the command, or with us. Without COMMAND it boots. Its
exit status is ours as with exec, and run returns when nothing is left.

On a terminal, the machine has one; ^] three times within a second leaves it.
Otherwise, and with --tty=false, files and pipes are given to it as they are. The
options are those of start; the image is not changed as long as it is in use.`

// runOptions are the options of run that start has not.
type runOptions struct{ runName string }

// runFlags are those of run.
const runFlags = "name ephemeral overlay boot bind bind-ro setenv env hostname private-users capability nspawn-arg " +
	networkFlags + "memory cpus tasks io-weight property slice stop-signal stop-timeout tty interactive "

func (o *runOptions) addRunFlags(f *pflag.FlagSet) {
	f.StringVar(&o.runName, "name", "", "Call the machine `NAME`, not as its image with some letters behind")
}

func (a *app) runVerb(verb *cobra.Command) {
	verb.RunE = func(cmd *cobra.Command, args []string) error {
		images, command := args, []string(nil)
		if dash := cmd.ArgsLenAtDash(); dash >= 0 {
			images, command = args[:dash], args[dash:]
		}
		if len(images) != 1 {
			return usagef("run: it is machctl run IMAGE -- COMMAND [ARGUMENT…], and %d words stand before --", len(images))
		}
		if !cmd.Flags().Changed("tty") {
			a.tty = isTerminal(os.Stdin) && isTerminal(os.Stdout)
		}
		return a.runOnce(cmd.Context(), images[0], command)
	}
	a.shortNetwork(verb)
}

// runOnce runs a machine on our own files or terminal.
func (a *app) runOnce(ctx context.Context, image string, words []string) error {
	o, err := a.startFor(words)
	if err != nil {
		return err
	}
	setRoot(&o, image)
	name := a.runName
	if name == "" {
		name = newName(image)
	}
	if err := checkNames([]string{name}, machine1.ValidMachineName); err != nil {
		return err
	}
	if err := a.connectToAct(ctx, machd.ActionStart); err != nil {
		return err
	}
	if a.tty {
		o.Environment = a.shellEnvironment()
	}
	var running *client.Execution
	run := func(ctx context.Context, c client.ExecCommand) (_ *client.Execution, err error) {
		running, err = a.client.Run(ctx, name, client.RunCommand{
			Options: o, Terminal: c.Terminal, Stdin: c.Stdin, Stdout: c.Stdout, Stderr: c.Stderr,
		})
		return running, err
	}
	if a.tty {
		return a.execOnTerminal(ctx, client.ExecCommand{Terminal: true}, run)
	}
	return a.execHere(ctx, client.ExecCommand{}, run)
}

// setRoot has the machine start from an image's name or from a path.
func setRoot(o *machd.StartOptions, image string) {
	if !strings.Contains(image, "/") {
		o.Image = image
		return
	}
	path, err := filepath.Abs(image)
	if err != nil {
		path = image // the daemon says what is wrong with it
	}
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		o.Disk = path
		return
	}
	o.Directory = path
}

// newName returns a name that no machine has.
func newName(image string) string {
	base := strings.TrimSuffix(filepath.Base(image), ".raw")
	base = strings.Map(func(r rune) rune {
		if strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", r) {
			return r
		}
		return '-'
	}, base)
	const longest = 40 // bytes of the 64 that a name may have; leaves room for the rest, and for what others add
	base = strings.Trim(base[:min(len(base), longest)], "-.")
	if base == "" {
		base = "run"
	}
	return base + "-" + strings.ToLower(rand.Text()[:8])
}
