package main

import (
	"github.com/spf13/pflag"

	"github.com/machd/machd/pkg/machd"
)

// startOptions are the options of a start that no other verb had before it.
type startOptions struct {
	launch      machd.StartOptions
	boot        bool
	noBoot      bool
	restartWhen string
	waitFor     string
	stopWithin  durationFlag
	dryRun      bool
}

// startFlags are those of a start, as a verb names its options.
const startFlags = "image directory disk from vm ephemeral overlay boot no-boot bind bind-ro setenv env hostname private-users " +
	"capability nspawn-arg " + networkFlags + "memory cpus tasks io-weight property slice restart stop-signal stop-timeout protect wait save dry-run "

func (o *startOptions) addStartFlags(f *pflag.FlagSet) {
	s := &o.launch
	f.StringVar(&s.Image, "image", "", "Start from the image `NAME`, not from that of the machine's name")
	f.StringVar(&s.Directory, "directory", "", "Start from the directory tree at `PATH`")
	f.StringVar(&s.Disk, "disk", "", "Start from the disk image or block device at `PATH`")
	f.StringVar(&s.From, "from", "", "Clone the image `NAME` first, to one of the machine's name")
	f.BoolVar(&s.VM, "vm", false, "Start a virtual machine")
	f.BoolVar(&s.Ephemeral, "ephemeral", false, "Throw away what the machine writes: on a snapshot")
	f.BoolVar(&s.Overlay, "overlay", false, "The same on an overlay, which needs no snapshots")
	f.BoolVar(&o.boot, "boot", false, "Run its init; what follows -- are arguments for it")
	f.BoolVar(&o.noBoot, "no-boot", false, "Run no init but the command that follows --")
	f.Var(&appended{&s.Bind}, "bind", "Show `SOURCE[:DESTINATION[:OPTIONS]]` of the host in it; may be repeated")
	f.Var(&appended{&s.BindReadOnly}, "bind-ro", "The same read-only, `SOURCE[:DESTINATION[:OPTIONS]]`; may be repeated")
	f.StringVar(&s.Hostname, "hostname", "", "Call it `NAME` inside")
	f.StringVar(&s.PrivateUsers, "private-users", "", "`WHICH` user IDs it has: yes, no, pick, identity or a first one")
	f.Var(&appended{&s.Capabilities}, "capability", "Let it have this `CAPABILITY`; may be repeated")
	f.Var(&appended{&s.Arguments}, "nspawn-arg", "One more `OPTION` for systemd-nspawn, or systemd-vmspawn; may be repeated")
	f.StringVar(&s.Memory, "memory", "", "It may take so many `BYTES`, as 200M or 30%, or infinity")
	f.StringVar(&s.CPUs, "cpus", "", "It may take the time of `N` processors, as 0.5, or infinity")
	f.StringVar(&s.Tasks, "tasks", "", "It may have `N` processes and threads, or infinity")
	f.StringVar(&s.IOWeight, "io-weight", "", "Its share of the disks' time is `N`, 1 to 10000")
	f.StringVar(&s.Slice, "slice", "", "Put it into the `SLICE`")
	f.StringVar(&o.restartWhen, "restart", "", "`WHEN` to start it again: no, on-failure, always")
	f.StringVar(&s.StopSignal, "stop-signal", "", "The `SIGNAL` that its init takes for a shutdown")
	f.Var(&o.stopWithin, "stop-timeout", "It may take this `TIME` to shut down")
	f.BoolVar(&s.Protect, "protect", false, "Do not stop it without --force")
	f.StringVar(&o.waitFor, "wait", "", "Return when it is `STATE`: ready, registered, no (at once)")
	f.BoolVar(&s.Save, "save", false, "Keep these options for later starts")
	f.BoolVar(&o.dryRun, "dry-run", false, "Show what would be done, and do nothing")
}

// The values of --wait and --restart.
var (
	waits    = []string{string(machd.WaitReady), string(machd.WaitRegistered), string(machd.WaitNo)}
	restarts = []string{string(machd.RestartNo), string(machd.RestartOnFailure), string(machd.RestartAlways)}
)

// startFor returns the options of a start whose command line had the command
// behind "--".
func (o *options) startFor(command []string) (machd.StartOptions, error) {
	s := o.launch
	s.Command = command
	switch {
	case o.boot && o.noBoot:
		return s, usagef("--boot and --no-boot exclude each other")
	case o.noBoot && len(command) == 0:
		return s, usagef("--no-boot: what should it run? It is machctl start NAME --no-boot -- COMMAND [ARGUMENT…]")
	case o.noWait && o.waitFor != "" && o.waitFor != string(machd.WaitNo):
		return s, usagef("--no-wait and --wait=%s exclude each other", o.waitFor)
	case o.boot:
		s.Boot = "yes"
	case o.noBoot:
		s.Boot = "no"
	}
	s.Environment, s.Properties = o.environment, o.properties
	if err := o.network(&s); err != nil {
		return s, err
	}
	s.StopTimeout, s.WaitTimeout = o.stopWithin.d, o.timeout.d
	s.Wait = machd.Wait(o.waitFor)
	if o.noWait {
		s.Wait = machd.WaitNo
	}
	if s.Wait != "" {
		if err := oneOf("wait", "state", string(s.Wait), waits...); err != nil {
			return s, err
		}
	}
	s.Restart = machd.Restart(o.restartWhen)
	if s.Restart != "" {
		return s, oneOf("restart", "way", o.restartWhen, restarts...)
	}
	return s, nil
}
