package main

// What help and the manual say of the verbs that show what there is.
const (
	listHelp = `A "-" says that there is none, a "?" that the machine did not answer in time;
--timeout says how long one may take, 3 seconds if it does not.`

	statusHelp = `One screen a machine: what it is, since when it runs, where, how much it takes,
its network and ports, what is wrong with it, its processes and the last lines of
its log, of which --lines says how many. On a terminal, the processes are those
for which there is room, and with --full all.`

	showHelp = `Properties come one a line, as NAME=VALUE. With --property=NAME=VALUE a property
is shown only if it has that value.`
)
