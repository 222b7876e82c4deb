package busapi

import (
	"context"
	"maps"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/auth"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/machine1"
)

// machineObject is one machine as it was when the call came in. It is the
// View's, so nobody may change it.
type machineObject struct {
	api     *API
	machine *machine.Machine
}

// ask asks whether the sender of c may do to o what rule is about, and returns
// the machine as it is once the answer is there. The details are without the
// machine's name.
func (o machineObject) ask(ctx context.Context, c *vtable.Call, rule access.Rule, details map[string]string) (machine.Machine, error) {
	caller, err := o.api.callers.BusCaller(ctx, c.Sender)
	if err != nil {
		return *o.machine, err
	}
	defer caller.Close()
	return o.askFor(ctx, c, caller, rule, details)
}

// askFor is ask for a caller who is known.
func (o machineObject) askFor(ctx context.Context, c *vtable.Call, caller auth.Caller, rule access.Rule, details map[string]string) (machine.Machine, error) {
	all := map[string]string{"machine": o.machine.Name}
	maps.Copy(all, details)
	return o.api.gate.Machine(ctx, caller, *o.machine, access.Question{Rule: rule, Details: all, Interactive: c.Interactive})
}

// machineInterface has its rows in the order of the reference's introspection.
//
// Reference: machine-dbus.c, machine_vtable.
var machineInterface = vtable.Interface{
	Name: machine1.MachineInterface,
	Methods: []vtable.Method{
		{Name: "Terminate", Access: machine1.ActionManageMachines, Slow: true, Func: terminate},
		{Name: "Kill", In: "whom signal", Access: machine1.ActionManageMachines, Slow: true, Func: kill},
		{Name: "GetAddresses", Out: "addresses", Slow: true, Func: getAddresses},
		{Name: "GetSSHInfo", Out: "ssh_address ssh_private_key_path", Func: getSSHInfo},
		{Name: "GetOSRelease", Out: "fields", Access: machine1.ActionInspectMachines, Slow: true, Func: getOSRelease},
		{Name: "GetUIDShift", Out: "shift", Slow: true, Func: getUIDShift},
		{Name: "OpenPTY", Out: "pty pty_path", Access: machine1.ActionOpenPTY, Slow: true, Func: openPTY},
		{Name: "OpenLogin", Out: "pty pty_path", Access: machine1.ActionLogin, Slow: true, Func: openLogin},
		{Name: "OpenShell", In: "user path args environment", Out: "pty pty_path",
			Access: machine1.ActionShell, Slow: true, Func: openShell},
		{Name: "BindMount", In: "source destination read_only mkdir", Access: machine1.ActionManageMachines, Slow: true, Func: bindMount},
		{Name: "CopyFrom", In: "source destination", Access: machine1.ActionManageMachines, Slow: true, Func: copyFrom},
		{Name: "CopyTo", In: "source destination", Access: machine1.ActionManageMachines, Slow: true, Func: copyTo},
		{Name: "CopyFromWithFlags", In: "source destination flags", Access: machine1.ActionManageMachines, Slow: true, Func: copyFromWithFlags},
		{Name: "CopyToWithFlags", In: "source destination flags", Access: machine1.ActionManageMachines, Slow: true, Func: copyToWithFlags},
		{Name: "OpenRootDirectory", Out: "fd", Access: machine1.ActionManageMachines, Slow: true, Func: openRootDirectory},
	},
	Properties: []vtable.Property{
		{Name: "Name", Emits: vtable.EmitsConst, Get: text(func(m *machine.Machine) string { return m.Name })},
		{Name: "Id", Emits: vtable.EmitsConst, Get: vtable.Getter(machineID)},
		{Name: "Timestamp", Emits: vtable.EmitsConst, Get: number(func(m *machine.Machine) uint64 { return m.Realtime })},
		{Name: "TimestampMonotonic", Emits: vtable.EmitsConst, Get: number(func(m *machine.Machine) uint64 { return m.Monotonic })},
		{Name: "Service", Emits: vtable.EmitsConst, Get: text(func(m *machine.Machine) string { return m.Service })},
		{Name: "Unit", Emits: vtable.EmitsConst, Get: text(func(m *machine.Machine) string { return m.Unit })},
		{Name: "Scope", Emits: vtable.EmitsConst, Hidden: true, Get: text(func(m *machine.Machine) string { return m.Unit })},
		{Name: "Subgroup", Emits: vtable.EmitsConst, Get: text(func(m *machine.Machine) string { return m.Subgroup })},
		{Name: "Leader", Emits: vtable.EmitsConst, Get: number(func(m *machine.Machine) uint32 { return pidOf(m.Leader) })},
		{Name: "LeaderPIDFDId", Emits: vtable.EmitsConst, Get: number(func(m *machine.Machine) uint64 { return idOf(m.Leader) })},
		{Name: "Supervisor", Emits: vtable.EmitsConst, Get: number(func(m *machine.Machine) uint32 { return pidOf(m.Supervisor) })},
		{Name: "SupervisorPIDFDId", Emits: vtable.EmitsConst, Get: number(func(m *machine.Machine) uint64 { return idOf(m.Supervisor) })},
		{Name: "Class", Emits: vtable.EmitsConst, Get: text(func(m *machine.Machine) string { return string(m.Class) })},
		{Name: "RootDirectory", Emits: vtable.EmitsConst, Get: text(func(m *machine.Machine) string { return m.RootDirectory })},
		{Name: "NetworkInterfaces", Emits: vtable.EmitsConst, Get: vtable.Getter(networkInterfaces)},
		{Name: "VSockCID", Emits: vtable.EmitsConst, Get: number(func(m *machine.Machine) uint32 { return m.VSockCID })},
		{Name: "SSHAddress", Emits: vtable.EmitsConst, Get: text(func(m *machine.Machine) string { return m.SSHAddress })},
		{Name: "SSHPrivateKeyPath", Emits: vtable.EmitsConst, Get: text(func(m *machine.Machine) string { return m.SSHPrivateKeyPath })},
		{Name: "State", Emits: vtable.EmitsFalse, Get: text(func(m *machine.Machine) string { return string(m.State()) })},
		{Name: "UID", Emits: vtable.EmitsConst, Get: number(func(m *machine.Machine) uint32 { return m.UID })},
	},
}

func text(get func(*machine.Machine) string) any {
	return vtable.Getter(func(_ context.Context, o machineObject) (string, error) { return get(o.machine), nil })
}

func number[N uint32 | uint64](get func(*machine.Machine) N) any {
	return vtable.Getter(func(_ context.Context, o machineObject) (N, error) { return get(o.machine), nil })
}

// machineID is empty, not 16 zeros, when the registrant gave none.
func machineID(_ context.Context, o machineObject) ([]byte, error) {
	if o.machine.ID == [16]byte{} {
		return nil, nil
	}
	return o.machine.ID[:], nil
}

func networkInterfaces(_ context.Context, o machineObject) ([]int32, error) {
	return o.machine.NetworkInterfaces, nil
}

func pidOf(p *proc.PIDFD) uint32 {
	if p == nil {
		return 0
	}
	return uint32(p.PID())
}

func idOf(p *proc.PIDFD) uint64 {
	if p == nil {
		return 0
	}
	return p.ID()
}
