package varlinkapi

import (
	"context"
	"math"
	"slices"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/varlink"
	"github.com/machd/machd/pkg/machine1"
)

// machineInterface has its rows in the order of the reference.
//
// Reference: varlink-io.systemd.Machine.c.
var machineInterface = varlink.Interface[*API]{
	Name:    "io.systemd.Machine",
	Doc:     "The machines that run on this host",
	Methods: slices.Concat(lifeMethods, insideMethods),
	Errors: []varlink.ErrorType{
		{Name: "NoSuchMachine", Doc: "No machine runs that the caller asks for"},
		{Name: "MachineExists", Doc: "A machine of this name runs already"},
		{Name: "NoPrivateNetworking", Doc: "The machine shares the network of the host"},
		{Name: "NoOSReleaseInformation", Doc: "The machine has no os-release file"},
		{Name: "NoUIDShift", Doc: "The machine's user IDs are not one block of the host's"},
		{Name: "NotAvailable", Doc: "Machines of this class cannot be asked"},
		{Name: "NotSupported", Doc: "Machines of this class, or this machine's user IDs, do not allow it"},
		{Name: "NoIPC", Doc: "The machine has no system bus to start the program by"},
		{Name: "NoSuchUser", Doc: "The user ID is nobody's on the other side"},
		{Name: "NoSuchGroup", Doc: "The group ID is nobody's on the other side"},
		{Name: "UserInHostRange", Doc: "The user ID is the host's own"},
		{Name: "GroupInHostRange", Doc: "The group ID is the host's own"},
	},
}

// lifeMethods are about machines as a whole.
var lifeMethods = []varlink.Method[*API]{
	{
		Name: "Register",
		Doc:  "Adds a machine. The caller is its leader, unless it names another",
		In: varlink.Fields{
			{Name: "name", Type: varlink.String, Valid: isMachineName},
			{Name: "id", Type: varlink.String, Nullable: true, Valid: isID},
			{Name: "service", Type: varlink.String, Nullable: true},
			{Name: "class", Type: machineClass, Valid: isRegistrable},
			{Name: "leader", Type: varlink.Int, Nullable: true, NullIsAbsent: true, Valid: isLeaderPID},
			{Name: "leaderProcessId", Type: processID, Nullable: true, Valid: isLeaderProcess},
			{Name: "supervisor", Type: varlink.Int, Nullable: true, Ignored: true},
			{Name: "supervisorProcessId", Type: processID, Nullable: true, Ignored: true},
			{Name: "rootDirectory", Type: varlink.String, Nullable: true, Valid: isNormalPath},
			{Name: "ifIndices", Type: varlink.Array(varlink.Int), Nullable: true, Valid: areInterfaces},
			{Name: "vSockCid", Type: varlink.Int, Nullable: true, Valid: between(3, math.MaxUint32-1)},
			{Name: "sshAddress", Type: varlink.String, Nullable: true, Valid: isSafeText},
			{Name: "sshPrivateKeyPath", Type: varlink.String, Nullable: true, Valid: isPath},
			{Name: "controlAddress", Type: varlink.String, Nullable: true, Valid: isNormalPath},
			{Name: "allocateUnit", Type: varlink.Bool, Nullable: true},
			interactive,
		},
		Access: machine1.ActionRegisterMachine,
		Func:   register,
	},
	{
		Name:   "Unregister",
		Doc:    "Forgets a machine, and leaves its processes alone",
		In:     onMachine(),
		Access: machine1.ActionManageMachines,
		Func:   unregister,
	},
	{
		Name:   "Terminate",
		Doc:    "Ends a machine",
		In:     onMachine(),
		Access: machine1.ActionManageMachines,
		Func:   terminate,
	},
	{
		Name: "Kill",
		Doc:  "Sends a signal to processes of a machine, all of them if 'whom' is not given",
		In: onMachine(
			varlink.Field{Name: "whom", Type: killWhom, Nullable: true},
			varlink.Field{Name: "signal", Type: varlink.NamedInt(signalByName), Valid: between(1, maxSignal)}),
		Access: machine1.ActionManageMachines,
		Func:   kill,
	},
	{
		Name: "List",
		Doc:  "Describes one machine, or with 'more' all of them",
		In:   onMachine(varlink.Field{Name: "acquireMetadata", Type: acquireMetadata, Nullable: true}),
		Out: varlink.Fields{
			{Name: "name", Type: varlink.String},
			{Name: "id", Type: varlink.String, Nullable: true},
			{Name: "service", Type: varlink.String, Nullable: true},
			{Name: "class", Type: machineClass},
			{Name: "leader", Type: processID, Nullable: true},
			{Name: "supervisor", Type: processID, Nullable: true},
			{Name: "rootDirectory", Type: varlink.String, Nullable: true},
			{Name: "unit", Type: varlink.String, Nullable: true},
			{Name: "timestamp", Type: timestamp, Nullable: true},
			{Name: "vSockCid", Type: varlink.Int, Nullable: true},
			{Name: "sshAddress", Type: varlink.String, Nullable: true},
			{Name: "sshPrivateKeyPath", Type: varlink.String, Nullable: true},
			{Name: "controlAddress", Type: varlink.String, Nullable: true},
			{Name: "addresses", Type: varlink.Array(address), Nullable: true},
			{Name: "OSRelease", Type: varlink.Array(varlink.String), Nullable: true},
			{Name: "UIDShift", Type: varlink.Int, Nullable: true},
			{Name: "subgroup", Type: varlink.String, Nullable: true},
			{Name: "UID", Type: varlink.Int, Nullable: true},
		},
		More:   varlink.Streams,
		Access: machine1.ActionInspectMachines,
		Func:   list,
	},
}

func unregister(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	m, err := a.manage(ctx, c, access.Unregister)
	if err != nil {
		return nil, err
	}
	return nil, a.Machines.Unregister(ctx, m.Name)
}

func terminate(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	m, err := a.manage(ctx, c, access.Terminate)
	if err != nil {
		return nil, err
	}
	return nil, a.Machines.Terminate(ctx, m.Name)
}

func kill(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	m, err := a.manage(ctx, c, access.Kill)
	if err != nil {
		return nil, err
	}
	return nil, a.Machines.Kill(ctx, m.Name, c.In.String("whom"), int32(c.In.Int("signal")))
}

// manage returns the machine the caller names, if it may do to it what rule is
// about.
func (a *API) manage(ctx context.Context, c *varlink.Call, rule access.Rule) (machine.Machine, error) {
	m, err := a.find(ctx, c)
	if err != nil {
		return m, err
	}
	return a.authorize(ctx, c, m, rule, map[string]string{"name": m.Name})
}
