package launch

import (
	"slices"
	"strings"
)

// unitOptions changes what options say of the unit.
func (plan *Plan) unitOptions(p properties) error {
	o := plan.Options
	limits, err := limitProperties(o.Limits)
	if err != nil {
		return err
	}
	for name, value := range limits {
		delete(p, strings.TrimSuffix(name, "Scale"))
		p[name] = value
	}
	for _, assignment := range o.Properties {
		if err := p.assign(assignment, plan.template.all); err != nil {
			return err
		}
	}
	if o.Slice != "" {
		plan.moveToSlice(p)
	}
	if o.Restart != "" {
		p.set("Restart", string(o.Restart))
	}
	if o.StopTimeout > 0 {
		p.set("TimeoutStopUSec", uint64(o.StopTimeout.Microseconds()))
	}
	if o.Protect {
		p.set("RefuseManualStop", true)
	}
	return nil
}

func (plan *Plan) moveToSlice(p properties) {
	old := p.text("Slice")
	p.set("Slice", plan.Options.Slice)
	for _, dependency := range []string{"Requires", "After"} { // made by Slice
		if list := p.strings(dependency); slices.Contains(list, old) {
			p.set(dependency, slices.DeleteFunc(slices.Clone(list), func(unit string) bool { return unit == old }))
		}
	}
}

// registers has a container that cannot be registered fail; systemd-nspawn 262
// would let it run, and nobody knew of it. What the template says comes later.
const registers = "--register=yes"

// ownProperties adds what a machine without a unit file needs. PID 1 forgets
// such a unit when it is over, but holds it for us until we have seen how.
func (plan *Plan) ownProperties(p properties) {
	p.set("AddRef", true)
	p.set("CollectMode", "inactive-or-failed")
	p.add("After", "machd.target")
	p.add("Before", machineUnit(plan.Name))
	if plan.VM {
		return
	}
	if runs, _ := p[execStart].Value().([]command); len(runs) == 1 && runsNspawn(runs[0]) {
		run := runs[0]
		run.Argv = slices.Insert(slices.Clone(run.Argv), 1, registers)
		p.set(execStart, []command{run})
	}
	commands, _ := p["ExecStopPostEx"].Value().([]command)
	if slices.ContainsFunc(commands, func(c command) bool { return slices.Contains(c.Argv, "--cleanup") }) {
		return
	}
	p.set("ExecStopPostEx", append(slices.Clone(commands), removeExport(plan.Name)))
}

// machineUnit is what other units depend on to depend on a machine.
func machineUnit(name string) string { return "machine@" + name + ".service" }

// removeExport removes the mount that a killed systemd-nspawn of systemd before
// 258 leaves, and would refuse to start over. Later ones have --cleanup for it.
// Mostly there is none, of which umount says nothing only if it is to look for
// mounts below as well.
func removeExport(name string) command {
	const umount = "/bin/umount"
	return command{
		Path:  umount,
		Argv:  []string{umount, "-q", "-R", "-l", "/run/systemd/nspawn/unix-export/" + name},
		Flags: []string{"ignore-failure"},
	}
}
