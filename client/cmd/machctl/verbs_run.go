package main

// acting are the options of what may need a password.
const acting = "no-ask-password "

// runVerbs begin and end machines.
func (a *app) runVerbs() []verbRow {
	return []verbRow{
		{
			use: "start NAME… [-- COMMAND [ARGUMENT…]]", short: "Start machines and wait until they can be used", min: 1, max: -1,
			setup: a.startVerb, group: groupRun, words: words{wordStart},
			options: startFlags + "quiet timeout no-wait json " + acting, columns: describePlan, long: startHelp,
			examples: []example{
				{"machctl start c8-ns", "as systemd-nspawn@c8-ns.service would"},
				{"machctl start c8-ns -n -p 8080:80", "with a network, and its port 80 at 8080 of the host"},
				{"machctl start c8-ns --memory 512M --dry-run", "what would be done"},
			},
		},
		{
			use: "run IMAGE [-- COMMAND [ARGUMENT…]]", short: "Run a command as a machine that is thrown away", min: 1, max: -1,
			setup: a.runVerb, group: groupRun, words: words{wordImage, wordCommand}, options: runFlags + acting, long: runHelp,
			examples: []example{{"machctl run c8-ns -- cat /etc/os-release", "on a copy of the image that costs nothing"}},
		},
		{
			use: "stop NAME…", short: "Shut a machine down", max: -1, run: a.stop, group: groupRun, aliases: []string{"poweroff"},
			options: "all force if-running timeout no-wait quiet " + acting, words: words{wordMachine}, long: stopHelp,
			examples: []example{
				{"machctl stop c8-ns", "and wait until it is gone"},
				{"machctl stop --all", "all of them, at the same time"},
			},
		},
		{
			use: "restart NAME…", short: "Shut a machine down and start its unit again", max: -1, run: a.restart, group: groupRun,
			options: "all force timeout quiet " + acting, words: words{wordMachine}, long: restartHelp,
			examples: []example{{"machctl restart c8-ns", "so that changed settings count"}},
		},
		{
			use: "reboot NAME…", short: "Have a machine's init reboot", min: 1, max: -1, run: a.reboot, group: groupRun,
			options: acting, words: words{wordMachine}, long: rebootHelp,
			examples: []example{{"machctl reboot c8-ns", "as reboot(8) in it would"}},
		},
		{
			use: "terminate NAME…", short: "End a machine without asking its init", min: 1, max: -1, run: a.terminate, group: groupRun,
			options: "timeout no-wait " + acting, words: words{wordMachine}, long: terminateHelp,
			examples: []example{{"machctl terminate c8-ns", "as if it lost power"}},
		},
		{
			use: "kill NAME…", short: "Send a signal to processes of a machine", max: -1, run: a.kill, group: groupRun,
			options: "kill-whom signal " + acting, words: words{wordMachine}, long: killHelp,
			examples: []example{
				{"machctl kill c8-ns -s HUP --kill-whom=leader", "to its init only"},
				{"machctl kill -s list", "which signals there are"},
			},
		},
		{
			use: "enable NAME…", short: "Have a machine start when the host boots", min: 1, max: -1, run: a.enable, group: groupRun,
			options: "now quiet runner " + acting, words: words{wordStart}, long: enableHelp,
			examples: []example{{"machctl enable --now c8-ns", "and now as well"}},
		},
		{
			use: "disable NAME…", short: "Have it not start then any more", min: 1, max: -1, run: a.disable, group: groupRun,
			options: "now quiet runner " + acting, words: words{wordStart}, long: disableHelp,
			examples: []example{{"machctl disable c8-ns", "it runs on until it is stopped"}},
		},
		{
			use: "set NAME…", short: "Limit what a machine takes of the host", min: 1, max: -1, run: a.set, group: groupRun,
			options: "memory cpus tasks io-weight save " + acting, words: words{wordMachine}, long: setHelp,
			examples: []example{{"machctl set c8-ns --memory 512M --cpus 0.5", "while it runs"}},
		},
		{
			use: "port add|remove|list [NAME [PORT…]]", short: "Have ports of the host lead to a machine", min: 1, max: -1,
			run: a.port, group: groupRun, options: "inward save " + listOptions + acting,
			words: words{wordPortVerb, wordMachine, wordPort}, long: portHelp, columns: func() []columnText { return describe(portList()) },
			examples: []example{
				{"machctl port add c8-ns 8080:80", "http://localhost:8080 is its web server"},
				{"machctl port list", "which there are, and who answers"},
			},
		},
	}
}
