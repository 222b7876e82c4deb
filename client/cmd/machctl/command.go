package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
)

// The groups of verbs in the help.
const (
	groupMachines = "machines"
	groupImages   = "images"
)

// rootCommand is the table of verbs.
func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "machctl [OPTION…] VERB …",
		Short: "List, show, start, stop and enter containers and virtual machines",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return unknownVerb(cmd, args[0])
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.version {
				a.ui.print(versionText())
				return nil
			}
			return a.list(cmd.Context())
		},
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		// As many letters may be wrong in a verb that is meant to be another.
		SuggestionsMinimumDistance: 2,
	}
	cobra.EnableCommandSorting = false
	a.addFlags(root.PersistentFlags())
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usagef("%s", err) })
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { a.ui.print(helpText(cmd)) })
	root.SetHelpCommand(a.helpCommand())
	root.AddGroup(&cobra.Group{ID: groupMachines, Title: "Machines"}, &cobra.Group{ID: groupImages, Title: "Images"})
	for _, v := range a.verbs() {
		v.command.GroupID = v.group
		v.command.Aliases = v.aliases
		v.command.Annotations = map[string]string{annotateOptions: v.options}
		v.command.Long = v.long
		root.AddCommand(v.command)
	}
	root.SetGlobalNormalizationFunc(abbreviations(root.PersistentFlags()))
	root.PersistentPreRunE = func(cmd *cobra.Command, args []string) error { return a.check() }
	return root
}

// A verbRow is a verb with what only the help needs to know.
type verbRow struct {
	command *cobra.Command
	group   string
	aliases []string
	options string // that mean something to it, by long name
	long    string
}

func (a *app) verbs() []verbRow {
	const actOptions = "no-ask-password"
	shell := a.verb("shell [[USER@]NAME [COMMAND [ARGUMENT…]]]", "Run a shell or a command in a machine", 0, -1, a.shell)
	shell.Flags().SetInterspersed(false)
	return []verbRow{
		{a.verb("list", "List the machines that run", 0, 0, func(ctx context.Context, _ []string) error { return a.list(ctx) }),
			groupMachines, nil, "all full max-addresses no-legend output json timeout", listHelp},
		{a.verb("status NAME…", "Show what a machine is and does", 1, -1, a.status),
			groupMachines, nil, "all full lines output", ""},
		{a.verb("show [NAME…]", "Show properties of a machine, or of machd", 0, -1, a.show),
			groupMachines, nil, "property value print all", showHelp},
		{a.startVerb(), groupMachines, nil, startFlags + "quiet timeout no-wait " + actOptions, startHelp},
		{a.verb("set NAME…", "Limit what a machine takes of the host", 1, -1, a.set),
			groupMachines, nil, "memory cpus tasks io-weight save " + actOptions, setHelp},
		{a.verb("port add|remove|list [NAME [PORT…]]", "Have ports of the host lead to a machine", 1, -1, a.port),
			groupMachines, nil, "inward save no-legend output json " + actOptions, portHelp},
		{a.verb("doctor [NAME]", "Say what is wrong, why, and what mends it", 0, 1, a.doctor),
			groupMachines, nil, "fix quiet no-legend output json timeout " + actOptions, doctorHelp},
		{a.verb("login [NAME]", "Get a login prompt in a machine", 0, 1, a.login),
			groupMachines, nil, "quiet " + actOptions, loginHelp},
		{shell, groupMachines, nil, "setenv uid quiet " + actOptions, shellHelp},
		{a.execVerb(), groupMachines, nil, "setenv env uid workdir tty interactive " + actOptions, execHelp},
		{a.runVerb(), groupMachines, nil, runFlags + actOptions, runHelp},
		{a.verb("stop NAME…", "Shut a machine down", 0, -1, a.stop),
			groupMachines, []string{"poweroff"}, "all force if-running timeout no-wait " + actOptions, stopHelp},
		{a.verb("restart NAME…", "Shut a machine down and start its unit again", 0, -1, a.restart),
			groupMachines, nil, "all force timeout " + actOptions, restartHelp},
		{a.verb("enable NAME…", "Have a machine start when the host boots", 1, -1, a.enable),
			groupMachines, nil, "now quiet " + actOptions, enableHelp},
		{a.verb("disable NAME…", "Have it not start then any more", 1, -1, a.disable),
			groupMachines, nil, "now quiet " + actOptions, disableHelp},
		{a.verb("reboot NAME…", "Have a machine's init reboot", 1, -1, a.reboot),
			groupMachines, nil, actOptions, rebootHelp},
		{a.verb("terminate NAME…", "End a machine without asking its init", 1, -1, a.terminate),
			groupMachines, nil, "timeout no-wait " + actOptions, terminateHelp},
		{a.verb("kill NAME…", "Send a signal to processes of a machine", 0, -1, a.kill),
			groupMachines, nil, "kill-whom signal " + actOptions, ""},
		{a.verb("bind NAME PATH [PATH]", "Show a file or directory of the host in a machine", 2, 3, a.bind),
			groupMachines, nil, "read-only mkdir " + actOptions, bindHelp},
		{a.verb("unbind NAME PATH", "Take away what bind has put there", 2, 2, a.unbind),
			groupMachines, nil, actOptions, ""},
		{a.verb("copy-to NAME PATH [PATH]", "Copy files from the host into a machine", 2, 3, a.copyTo),
			groupMachines, nil, "force flat " + actOptions, copyHelp},
		{a.verb("copy-from NAME PATH [PATH]", "Copy files from a machine to the host", 2, 3, a.copyFrom),
			groupMachines, nil, "force flat " + actOptions, copyHelp},
		{a.verb("cat NAME…", "Show the settings of a machine", 1, -1, a.cat), groupMachines, nil, "output json", catHelp},
		{a.verb("edit NAME…", "Edit the settings of a machine", 1, -1, a.edit), groupMachines, nil, "", editHelp},
		{a.lineCount(a.verb("logs NAME", "Show the log lines of a machine", 1, 1, a.logs)),
			groupMachines, nil, "follow lines since inside output json", logsHelp},
		{a.lineCount(a.verb("history [NAME]", "List the machines that have ended, and how", 0, 1, a.history)),
			groupMachines, nil, "since lines full no-legend output json", historyHelp},
		{a.verb("events", "Show machines as they come and go", 0, 0, a.events),
			groupMachines, nil, "all output json", eventsHelp},
		{a.lineCount(a.verb("top", "Show what machines take of the host", 0, 0, a.top)),
			groupMachines, nil, "delay iterations full no-legend output json", topHelp},
		{a.verb("list-images", "List the images that machines can start from", 0, 0, a.listImages),
			groupImages, nil, "all full no-legend output json", ""},
		{a.verb("clone NAME NEW", "Copy an image", 2, 2, a.clone),
			groupImages, nil, "read-only " + actOptions, cloneHelp},
		{a.verb("rename NAME NEW", "Give an image another name", 2, 2, a.rename),
			groupImages, nil, actOptions, ""},
		{a.verb("read-only NAME [yes|no]", "Make an image read-only, or writable", 1, 2, a.setReadOnly),
			groupImages, nil, actOptions, ""},
		{a.verb("remove NAME…", "Remove an image", 1, -1, a.remove),
			groupImages, nil, "with-settings " + actOptions, removeHelp},
		{a.verb("set-limit [NAME] BYTES", "Limit what an image may take, or all together", 1, 2, a.setLimit),
			groupImages, nil, actOptions, setLimitHelp},
		{a.verb("clean", "Remove hidden images, or all of them", 0, 0, a.clean),
			groupImages, nil, "all " + actOptions, ""},
	}
}

func unknownVerb(cmd *cobra.Command, verb string) error {
	text := ""
	if near := cmd.SuggestionsFor(verb); len(near) > 0 {
		text = ", did you mean " + strings.Join(near, " or ") + "?"
	}
	return usagef("there is no verb %q%s", verb, text)
}
