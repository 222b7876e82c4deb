package main

import "github.com/spf13/cobra"

// enterVerbs run commands and sessions in machines.
func (a *app) enterVerbs() []verbRow {
	return []verbRow{
		{
			use: "login [NAME]", short: "Get a login prompt in a machine", max: 1, run: a.login, group: groupEnter,
			options: "quiet " + acting, words: words{wordHost}, long: loginHelp,
			examples: []example{{"machctl login c8-ns", "type ^] three times to leave"}},
		},
		{
			use: "shell [[USER@]NAME [COMMAND [ARGUMENT…]]]", short: "Run a shell or a command in a machine", max: -1,
			run: a.shell, group: groupEnter, options: "setenv uid quiet " + acting, setup: nameEndsOptions,
			words: words{wordUserAt, wordCommand}, long: shellHelp,
			examples: []example{
				{"machctl shell c8-ns", "as root"},
				{"machctl shell root@c8-ns /bin/ls /etc", "with the exit status of ls"},
			},
		},
		{
			use: "exec [USER@]NAME [--] COMMAND [ARGUMENT…]", short: "Run a command in a machine", min: 2, max: -1,
			run: a.exec, group: groupEnter, options: "setenv env uid workdir tty interactive " + acting, setup: nameEndsOptions,
			words: words{wordUserAt, wordCommand}, long: execHelp,
			examples: []example{
				{"machctl exec c8-ns cat /etc/os-release", "its output and exit status are ours"},
				{"machctl exec -t c8-ns top", "on a terminal"},
			},
		},
	}
}

// nameEndsOptions leaves what follows the name to the command.
func nameEndsOptions(cmd *cobra.Command) { cmd.Flags().SetInterspersed(false) }

// fileVerbs bring files in and out.
func (a *app) fileVerbs() []verbRow {
	return []verbRow{
		{
			use: "copy-to NAME PATH [PATH]", short: "Copy files from the host into a machine", min: 2, max: 3, run: a.copyTo,
			group: groupFiles, options: "force flat quiet " + acting, words: words{wordMachine, wordFile, wordInside}, long: copyHelp,
			examples: []example{{"machctl copy-to c8-ns /etc/hosts /root/hosts", ""}},
		},
		{
			use: "copy-from NAME PATH [PATH]", short: "Copy files from a machine to the host", min: 2, max: 3, run: a.copyFrom,
			group: groupFiles, options: "force flat quiet " + acting, words: words{wordMachine, wordInside, wordFile}, long: copyHelp,
			examples: []example{{"machctl copy-from c8-ns /etc/os-release /tmp/os-release", ""}},
		},
		{
			use: "bind NAME PATH [PATH]", short: "Show a file or directory of the host in a machine", min: 2, max: 3, run: a.bind,
			group: groupFiles, options: "read-only mkdir " + acting, words: words{wordMachine, wordFile, wordInside}, long: bindHelp,
			examples: []example{{"machctl bind c8-ns --mkdir --read-only /srv /srv", ""}},
		},
		{
			use: "unbind NAME PATH", short: "Take away what bind has put there", min: 2, max: 2, run: a.unbind,
			group: groupFiles, options: acting, words: words{wordMachine, wordInside}, long: unbindHelp,
			examples: []example{{"machctl unbind c8-ns /srv", ""}},
		},
	}
}

// settingsVerbs show and change what is written about machines.
func (a *app) settingsVerbs() []verbRow {
	return []verbRow{
		{
			use: "cat NAME…", short: "Show the settings of a machine", min: 1, max: -1, run: a.cat, group: groupSettings,
			options: "runner " + listOptions, words: words{wordStart}, columns: func() []columnText { return describe(settingsList) }, long: catHelp,
			examples: []example{{"machctl cat c8-ns", "each file, and what in it nobody acts on"}},
		},
		{
			use: "edit NAME…", short: "Edit the settings of a machine", min: 1, max: -1, run: a.edit, group: groupSettings,
			options: "runner", words: words{wordStart}, long: editHelp,
			examples: []example{{"machctl edit c8-ns", "in $EDITOR; checked before it is put in place"}},
		},
	}
}
