package main

// What help and the manual say of the verbs that work in machines.
const (
	loginHelp = `Without NAME, or with .host, the prompt is the host's. After a logout the next
prompt comes; type ^] three times within a second to leave. The session ends
with the machine, and outlives a restart of machd.`

	shellHelp = `Without COMMAND, a shell of USER is run, of root if there is no USER; without
NAME, on the host. What follows NAME belongs to the command, options too; called
as machinectl, those before COMMAND do not. Type ^] three times within a second
to leave. The exit status is the command's, as exec has it; systemd-machined does
not tell it, nor machd with --user, and it is 0 then. A shell on a terminal
outlives a restart of machd, and leaves 0.`

	copyHelp = `The second PATH is on the side that is copied to, the first one if it is left out.
A file goes into a directory that is there already, under its own name. A directory
is merged with one; other files are kept unless --force is given. Who owns a file
in the machine owns it there by the same number; with --flat everything goes to
root, if the machine has users of its own.

With "-" for the PATH of the host, the files are a tar archive at standard input
or output: of one file, or of what is in a directory. With -H HOST or
-H HOST/CONTAINER, the files are this host's, and travel by ssh; called as
machinectl, they are HOST's. With -M CONTAINER they are CONTAINER's, and only the
archive is this host's.`

	bindHelp = `The second PATH is the machine's, the first one if it is left out. In a machine
with a user namespace, users see the files as if they were theirs. What was
mounted in a machine goes with it.`

	unbindHelp = `PATH is the machine's, where bind has mounted something.`
)
