package main

import (
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// annotateOptions names the options that mean something to a verb.
const annotateOptions = "options"

// topicExitCodes is what help knows besides verbs.
const topicExitCodes = "exit-codes"

const (
	listHelp = `A "-" says that there is none, a "?" that the machine did not answer in time;
--timeout says how long one may take, 3 seconds if it does not.`

	showHelp = `Properties come one a line, as NAME=VALUE. With --property=NAME=VALUE a property
is shown only if it has that value.`

	startHelp = `start returns when the machines can be used: a system has booted, a command runs.
--wait=registered does not wait for that, and --no-wait for nothing. A start that
fails leaves nothing behind, and says why with the last lines of the log. A
machine that runs already is left alone, which is no failure.

NAME is an image, or may be a pattern that images match. It is started in a unit
of its own with all that systemd-nspawn@NAME.service would have, or as that very
unit if you have enabled it, or changed it, and give no options. No option leaves
a file, unless --save does.

With -n it has a link to the host: addresses on both ends, the way out and a name
server, whatever runs in it. -p 8080:80 has port 8080 of the host lead to its port
80; "machctl help port" tells more about ports.

Under systemd-machined, and called as machinectl, containers are started as
systemd-nspawn@NAME.service, without options.`

	loginHelp = `Without NAME, or with .host, the prompt is the host's. After a logout the next
prompt comes; type ^] three times within a second to leave. The session ends
with the machine, and outlives a restart of machd.`

	shellHelp = `Without COMMAND, a shell of USER is run, of root if there is no USER; without
NAME, on the host. What follows NAME belongs to the command, options too. Type
^] three times within a second to leave. The exit status is the command's, as
exec has it; systemd-machined does not tell it, nor machd with --user, and it is
0 then. A shell on a terminal outlives a restart of machd, and leaves 0.`

	stopHelp = `The machine's init is asked to shut down; what has not ended after 90 s, or
--timeout, has its unit stopped, and is killed if that takes longer than 15 s, or
--timeout. Where the init would ignore that, the unit is stopped at once. stop
returns when the machine and its unit are gone, so that it can be started again,
and says if the machine did not shut down by itself. A NAME may be a pattern, and
--all is all machines. --force also ends a protected machine. With --no-wait, and
as machinectl, the init is only asked, and not waited for.`

	restartHelp = `The machine is ended as by stop, and its unit is started again. restart returns
when the machine can be used. What runs in a unit that cannot be started again,
such as a scope, can only be rebooted.`

	enableHelp = `machine@NAME.service is made part of machines.target, which starts with the host.
Other units may name it, too, to start after the machine can be used, or only
with it. With --now it is started as well. As machinectl, it is
systemd-nspawn@NAME.service; a machine may be enabled both ways.`

	disableHelp = `What enable has linked is removed, whichever way it was enabled. With --now the
machine is stopped as well.`

	rebootHelp = `The machine's init is asked to reboot. reboot does not wait for that.`

	bindHelp = `The second PATH is the machine's, the first one if it is left out. In a machine
with a user namespace, users see the files as if they were theirs. What was
mounted in a machine goes with it.`

	copyHelp = `The second PATH is on the side that is copied to, the first one if it is left out.
Directories that are there already are merged, other files are kept unless
--force is given. Who owns a file in the machine owns it there by the same
number; with --flat everything goes to root.`

	cloneHelp = `The copy costs nothing where the file system can share (btrfs). It has the host
name and the machine ID of the original, until it is changed.`

	removeHelp = `A machine that runs from the image keeps it from being removed. Settings in
/etc/systemd/nspawn are kept unless --with-settings is given.`

	setLimitHelp = `BYTES may end in K, M, G, T, P or E; none takes a limit away. The images must be
on btrfs.`

	terminateHelp = `The machine's unit is stopped. terminate waits as stop does.`

	statusHelp = `One screen a machine: what it is, since when it runs, where, how much it takes,
its network and ports, what is wrong with it, its processes and the last lines of
its log, of which --lines says how many.`

	killHelp = `The SIGNAL goes to all processes of the machine, to its leader only with
--kill-whom=leader, or to what supervises it with --kill-whom=supervisor.`

	unbindHelp = `PATH is the machine's, where bind has mounted something.`

	renameHelp = `Its settings are renamed with it. An image that a machine runs from keeps its
name.`

	readOnlyHelp = `Without yes or no, it is made read-only.`

	cleanHelp = `Hidden images are those whose names begin with a dot, such as downloads that were
kept. With --all, every image goes.`
)

func (a *app) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [VERB | " + topicExitCodes + "]",
		Short: "Show help for a verb, or what exit codes mean",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				a.ui.print(helpText(cmd.Root()))
				return nil
			}
			if args[0] == topicExitCodes {
				a.ui.print(exitCodesHelp)
				return nil
			}
			verb, _, err := cmd.Root().Find(args[:1])
			if err != nil || verb == cmd.Root() {
				return unknownVerb(cmd.Root(), args[0])
			}
			a.ui.print(helpText(verb))
			return nil
		},
	}
}

func helpText(cmd *cobra.Command) string {
	if !cmd.HasParent() {
		return rootHelp(cmd)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "machctl %s\n\n%s.\n", cmd.Use, cmd.Short)
	if len(cmd.Aliases) > 0 {
		fmt.Fprintf(&b, "%s is the same.\n", strings.Join(cmd.Aliases, ", "))
	}
	if cmd.Long != "" {
		fmt.Fprintf(&b, "\n%s\n", cmd.Long)
	}
	if names := strings.Fields(cmd.Annotations[annotateOptions]); len(names) > 0 {
		b.WriteString("\nOptions:\n")
		b.WriteString(flagHelp(cmd.Root().PersistentFlags(), func(f *pflag.Flag) bool { return slices.Contains(names, f.Name) }))
	}
	return b.String()
}

func rootHelp(root *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n%s.\n", root.Use, root.Short)
	for _, group := range root.Groups() {
		fmt.Fprintf(&b, "\n%s:\n", group.Title)
		for _, cmd := range root.Commands() {
			if cmd.GroupID == group.ID {
				verbs := strings.Join(append([]string{cmd.Name()}, cmd.Aliases...), ", ")
				fmt.Fprintf(&b, "  %-18s %s\n", verbs, cmd.Short)
			}
		}
	}
	b.WriteString("\nOptions, anywhere on the line:\n")
	b.WriteString(flagHelp(root.PersistentFlags(), func(*pflag.Flag) bool { return true }))
	b.WriteString("\nWithout a verb, machctl lists machines. \"machctl help VERB\" tells more about a\n")
	b.WriteString("verb, \"machctl help " + topicExitCodes + "\" what the exit codes mean.\n")
	return b.String()
}

func flagHelp(flags *pflag.FlagSet, wanted func(*pflag.Flag) bool) string {
	var b strings.Builder
	flags.VisitAll(func(f *pflag.Flag) {
		if !wanted(f) {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		short := "  "
		if f.Shorthand != "" {
			short = "-" + f.Shorthand
		}
		long := "--" + f.Name
		switch {
		case value != "" && f.NoOptDefVal != "" && f.Value.Type() != "bool":
			long += "[=" + value + "]"
		case value != "":
			long += "=" + value
		}
		fmt.Fprintf(&b, "  %s %-20s %s\n", short, long, usage)
	})
	return b.String()
}

// version is set by the build.
var version string

func versionText() string {
	if version != "" {
		return "machctl " + version + "\n"
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return "machctl " + info.Main.Version + "\n"
	}
	return "machctl (unknown version)\n"
}
