package main

// lookVerbs show what there is.
func (a *app) lookVerbs() []verbRow {
	return []verbRow{
		{
			use: "list", short: "List the machines that run", run: a.list, group: groupLook,
			options: "all full max-addresses timeout " + listOptions + "watch", long: listHelp,
			columns: func() []columnText { return describe(a.machineList()) },
			examples: []example{
				{"machctl list -a", "the host as well"},
				{"machctl list -o wide", "state, unit, ports and how long each runs"},
				{"machctl list --filter class=container --sort -since --json", "for programs"},
				{"machctl list --watch", "redrawn as machines come and go"},
			},
		},
		{
			use: "status NAME…", short: "Show what a machine is and does", min: 1, max: -1, run: a.status, group: groupLook,
			options: "all full lines timeout watch " + objectOptions, words: words{wordHost}, columns: describeStatus, long: statusHelp,
			examples: []example{
				{"machctl status c8-ns", "what it is, since when, where, and what is wrong"},
				{"machctl status c8-ns --watch", "redrawn when it changes"},
			},
		},
		{
			use: "show [NAME…]", short: "Show properties of a machine, or of machd", max: -1, run: a.show, group: groupLook,
			options: "property value print all " + objectOptions, words: words{wordHost}, long: showHelp,
			examples: []example{
				{"machctl show c8-ns -P Leader", "one value, for scripts"},
				{"machctl show c8-ns --json", "all of them"},
			},
		},
		{
			use: "top", short: "Show what machines take of the host", run: a.top, group: groupLook,
			options: "delay iterations full lines " + listOptions, long: topHelp,
			columns: func() []columnText { return describe(loadList) }, setup: a.countsLines,
			examples: []example{
				{"machctl top", "up to date until you press q"},
				{"machctl top -n 1", "once, for scripts"},
			},
		},
		{
			use: "events", short: "Show machines as they come and go", run: a.events, group: groupLook,
			options: "all json format", columns: describeEvents, long: eventsHelp,
			examples: []example{{"machctl events --all", "which there are, and then what happens to them"}},
		},
		{
			use: "history [NAME]", short: "List the machines that have ended, and how", max: 1, run: a.history, group: groupLook,
			options: "since lines full " + listOptions, words: words{wordStart}, columns: func() []columnText { return describe(pastList()) }, long: historyHelp, setup: a.countsLines,
			examples: []example{
				{"machctl history", "all of them"},
				{"machctl history c8-ns --since yesterday", "how one ended"},
			},
		},
		{
			use: "logs NAME", short: "Show the log lines of a machine", min: 1, max: 1, run: a.logs, group: groupLook,
			options: "follow lines since inside json", words: words{wordStart}, long: logsHelp, setup: a.countsLines,
			examples: []example{
				{"machctl logs c8-ns -n 20", "the last lines of its supervisor and console"},
				{"machctl logs c8-ns --inside", "the machine's own journal"},
			},
		},
		{
			use: "doctor [NAME]", short: "Say what is wrong, why, and what mends it", max: 1, run: a.doctor, group: groupLook,
			options: "fix quiet timeout no-ask-password " + listOptions, words: words{wordHost}, columns: func() []columnText { return describe(findingList) }, long: doctorHelp,
			examples: []example{
				{"machctl doctor c8-ns", "why it has no network, for one"},
				{"machctl doctor --fix", "mends what can be mended safely"},
			},
		},
	}
}
