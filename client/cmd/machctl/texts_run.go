package main

// What help and the manual say of the verbs that begin and end machines.
const (
	startHelp = `start returns when the machines can be used: a system has booted, a command runs.
--wait=registered does not wait for that, and --no-wait for nothing. A start that
fails leaves nothing behind, and says why with the last lines of the log. A
machine that runs already is left alone, which is no failure unless options are given.

NAME is an image, or may be a pattern that images match. It is started in a unit
of its own with all that systemd-nspawn@NAME.service would have, or as that very
unit if you have enabled it, or changed it, and give no options. No option leaves
a file, unless --save does.

With -n it has a link to the host: addresses on both ends, the way out and a name
server, whatever runs in it. -p 8080:80 has port 8080 of the host lead to its port
80; "machctl help port" tells more about ports.

Under systemd-machined, and called as machinectl, containers are started as
systemd-nspawn@NAME.service, without options.`

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

	rebootHelp = `The machine's init is asked to reboot. reboot does not wait for that.`

	terminateHelp = `The machine is killed, as if it lost power, and its unit is stopped. terminate
returns when both are gone, so that it can be started again. What runs the machine
has 15 s, or --timeout, to clean up. With --no-wait, and as machinectl, its unit is
only told to stop, and systemd-nspawn asks the init for that; systemd-machined can
do no more either, so the init is killed if it does not end in a moment.`

	killHelp = `The SIGNAL goes to all processes of the machine, to its leader only with
--kill-whom=leader, or to what supervises it with --kill-whom=supervisor.`

	enableHelp = `machine@NAME.service is made part of machines.target, which starts with the host.
Other units may name it, too, to start after the machine can be used, or only
with it. With --now it is started as well. As machinectl, it is
systemd-nspawn@NAME.service; a machine may be enabled both ways.`

	disableHelp = `What enable has linked is removed, whichever way it was enabled. With --now the
machine is stopped as well.`
)
