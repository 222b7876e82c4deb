package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/machd/machd/client"
	"github.com/machd/machd/pkg/machine1"
)

// vmVerbs are what virtual machines can do while they run; containers can be
// paused, too.
func (a *app) vmVerbs() []verbRow {
	return []verbRow{
		{
			use: "pause NAME…", short: "Have a machine stand still", min: 1, max: -1, run: a.pause, group: groupRun,
			options: acting, words: words{wordMachine}, long: pauseHelp,
			examples: []example{{"machctl pause c8-ns", "it takes no processor time, and keeps its memory"}},
		},
		{
			use: "resume NAME…", short: "Have a paused machine go on", min: 1, max: -1, run: a.resume, group: groupRun,
			options: acting, words: words{wordMachine}, long: "It goes on as if no time had passed.",
			examples: []example{{"machctl resume c8-ns", ""}},
		},
		{
			use: "bind-volume NAME PROVIDER:VOLUME[:DEVICE][:KEY=VALUE,…]", short: "Attach a volume to a virtual machine", min: 2, max: 2,
			run: a.bindVolume, group: groupFiles, options: acting, words: words{wordMachine, wordNone}, long: bindVolumeHelp,
			examples: []example{{"machctl bind-volume vm block:/dev/vg/data", "a logical volume"}},
		},
		{
			use: "unbind-volume NAME PROVIDER:VOLUME", short: "Detach a volume from a virtual machine", min: 2, max: 2,
			run: a.unbindVolume, group: groupFiles, options: acting, words: words{wordMachine, wordNone},
			long:     "What was attached when the machine started stays.",
			examples: []example{{"machctl unbind-volume vm block:/dev/vg/data", ""}},
		},
	}
}

const (
	pauseHelp = `A virtual machine of systemd-vmspawn 261 or later stops its processors. Of a
container all processes are frozen, with its unit, so nobody can enter it until
"machctl resume"; "machctl stop" has it go on first. Called as machinectl, only virtual
machines are paused.`

	bindVolumeHelp = `PROVIDER is a service of this host that has storage, a socket in
/run/systemd/io.systemd.StorageProvider; VOLUME is named by its rules. DEVICE is
what the machine sees: virtio-blk, virtio-scsi, nvme or scsi-cd. The keys are
create (any, new, open), template, read-only (yes, no, auto), size and request-as
(blk, reg, dir). It takes a virtual machine of systemd-vmspawn 261 or later.`
)

// pause has machines stand still.
func (a *app) pause(ctx context.Context, names []string) error {
	return a.pausing(ctx, names, (*client.Client).Pause, (*client.Client).PauseStock)
}

// resume has them go on.
func (a *app) resume(ctx context.Context, names []string) error {
	return a.pausing(ctx, names, (*client.Client).Resume, (*client.Client).ResumeStock)
}

func (a *app) pausing(ctx context.Context, names []string, own, stock func(*client.Client, context.Context, string) error) error {
	if err := a.checkLookups(names...); err != nil {
		return err
	}
	if err := a.connectToAct(ctx, actionManageUnits); err != nil {
		return err
	}
	call := own
	if a.stock {
		call = stock
	}
	return a.actOnEach(names, func(name string) error {
		ctx, cancel := a.limit(ctx)
		defer cancel()
		return a.noControl(name, call(a.client, ctx, name))
	})
}

// noControl puts it in the words of the stock command that a machine is not known
// or has no control socket.
func (a *app) noControl(name string, err error) error {
	switch {
	case errors.Is(err, client.ErrNoControlSocket):
		return stocked(err, "Machine '%s' does not expose a varlink control socket.", name)
	case errors.Is(err, machine1.ErrNoSuchMachine):
		return stocked(err, "Failed to look up machine '%s': io.systemd.Machine.NoSuchMachine", name)
	}
	return err
}

// bindVolume attaches a volume to a virtual machine.
func (a *app) bindVolume(ctx context.Context, args []string) error {
	volume, err := client.ParseVolume(args[1])
	switch {
	case err != nil && a.stock:
		return usagef("Failed to parse bind-volume argument '%s': Invalid argument", args[1])
	case err != nil:
		return usagef("bind-volume: %v", err)
	}
	return a.onVolume(ctx, "bind-volume", args[0], func(ctx context.Context) error { return a.client.AttachVolume(ctx, args[0], volume) })
}

// unbindVolume detaches one.
func (a *app) unbindVolume(ctx context.Context, args []string) error {
	provider, volume, ok := strings.Cut(args[1], ":")
	switch {
	case ok && provider != "" && volume != "":
	case a.stock:
		return usagef("Invalid unbind-volume name '%s', expected '<provider>:<volume>'.", args[1])
	default:
		return usagef("unbind-volume: %q is no PROVIDER:VOLUME", args[1])
	}
	return a.onVolume(ctx, "unbind-volume", args[0], func(ctx context.Context) error { return a.client.DetachVolume(ctx, args[0], args[1]) })
}

func (a *app) onVolume(ctx context.Context, verb, name string, do func(context.Context) error) error {
	if a.stock && (a.host.given || a.machine.given) {
		return machine1.Errorf(machine1.ErrNotSupported, "%s is only supported on the local transport.", verb)
	}
	if err := a.actOn(ctx, name, machine1.ActionManageMachines); err != nil {
		return err
	}
	ctx, cancel := a.limit(ctx)
	defer cancel()
	err := a.noControl(name, do(ctx))
	if errors.Is(err, client.ErrNoControlSocket) && !a.stock {
		return &hintedError{err, fmt.Sprintf(`"machctl bind %s PATH" shows a running container a directory or file of the host`, name)}
	}
	return err
}

// runnerOf is --runner and -V: what a machine is run by.
type runnerOf struct{ o *options }

func (o *options) addRunnerFlags(f *pflag.FlagSet) {
	f.Var(&runnerOf{o}, "runner", "Run it by `PROGRAM`: nspawn, a container, or vmspawn, a virtual machine")
	f.BoolFuncP("vmspawn", "V", "Run it by vmspawn, a virtual machine", func(string) error { o.launch.VM = true; return nil })
}

func (r *runnerOf) Set(program string) error {
	switch program {
	case "nspawn", "vmspawn":
		r.o.launch.VM = program == "vmspawn"
		return nil
	}
	return fmt.Errorf("it is nspawn or vmspawn")
}

func (r *runnerOf) String() string { return "" }
func (r *runnerOf) Type() string   { return "PROGRAM" }
