package busapi

import (
	"context"
	"math"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/machine1"
)

// managerInterface has its rows in the order of the reference's introspection.
// Rows that begin with a machine's name are redirected to that machine.
//
// Reference: machined-dbus.c, manager_vtable.
var managerInterface = vtable.Interface{
	Name: machine1.ManagerInterface,
	Methods: []vtable.Method{
		{Name: "GetMachine", In: "name", Out: "machine", Func: getMachine},
		{Name: "GetImage", In: "name", Out: "image", Slow: true, Func: getImage},
		{Name: "GetMachineByPID", In: "pid", Out: "machine", Slow: true, Func: getMachineByPID},
		{Name: "ListMachines", Out: "machines", Func: listMachines},
		{Name: "ListImages", Out: "images", Slow: true, Func: listImages},
		{Name: "CreateMachine", In: "name id service class leader root_directory scope_properties", Out: "path",
			Access: machine1.ActionCreateMachine, Slow: true, Func: createMachine},
		{Name: "CreateMachineWithNetwork", In: "name id service class leader root_directory ifindices scope_properties", Out: "path",
			Access: machine1.ActionCreateMachine, Slow: true, Func: createMachineWithNetwork},
		{Name: "RegisterMachine", In: "name id service class leader root_directory", Out: "path",
			Access: machine1.ActionRegisterMachine, Slow: true, Func: registerMachine},
		{Name: "RegisterMachineWithNetwork", In: "name id service class leader root_directory ifindices", Out: "path",
			Access: machine1.ActionRegisterMachine, Slow: true, Func: registerMachineWithNetwork},
		{Name: "UnregisterMachine", In: "name", Access: machine1.ActionManageMachines, Slow: true, Func: unregisterMachine},
		{Name: "TerminateMachine", In: "id", Access: machine1.ActionManageMachines, Slow: true, Func: terminateMachine},
		{Name: "KillMachine", In: "name whom signal", Access: machine1.ActionManageMachines, Slow: true, Func: killMachine},
		{Name: "GetMachineAddresses", In: "name", Out: "addresses", Slow: true, Func: getMachineAddresses},
		{Name: "GetMachineSSHInfo", In: "name", Out: "ssh_address ssh_private_key_path", Func: getMachineSSHInfo},
		{Name: "GetMachineOSRelease", In: "name", Out: "fields", Access: machine1.ActionInspectMachines, Slow: true, Func: getMachineOSRelease},
		{Name: "OpenMachinePTY", In: "name", Out: "pty pty_path", Access: machine1.ActionOpenPTY, Slow: true, Func: openMachinePTY},
		{Name: "OpenMachineLogin", In: "name", Out: "pty pty_path", Access: machine1.ActionLogin, Slow: true, Func: openMachineLogin},
		{Name: "OpenMachineShell", In: "name user path args environment", Out: "pty pty_path",
			Access: machine1.ActionShell, Slow: true, Func: openMachineShell},
		{Name: "OpenMachineRootDirectory", In: "name", Out: "fd", Access: machine1.ActionManageMachines, Slow: true, Func: openMachineRootDirectory},
		{Name: "GetMachineUIDShift", In: "name", Out: "shift", Slow: true, Func: getMachineUIDShift},
	},
	Properties: []vtable.Property{
		{Name: "PoolPath", Emits: vtable.EmitsFalse, Get: poolPath},
		{Name: "PoolUsage", Emits: vtable.EmitsFalse, Get: unknownBytes},
		{Name: "PoolLimit", Emits: vtable.EmitsFalse, Get: unknownBytes},
	},
	Signals: []vtable.Signal{
		{Name: "MachineNew", Args: "machine path", Types: "so"},
		{Name: "MachineRemoved", Args: "machine path", Types: "so"},
	},
}

func getMachine(_ context.Context, _ *vtable.Call, a *API, name string) (dbus.ObjectPath, error) {
	m, err := a.find(name)
	if err != nil {
		return "", err
	}
	return machine1.MachinePath(m.Name), nil
}

// The path is made of the name as it was given. Reference: machined-dbus.c,
// method_get_image.
func getImage(ctx context.Context, _ *vtable.Call, a *API, name string) (dbus.ObjectPath, error) {
	if _, err := a.images.Get(ctx, name); err != nil {
		return "", err
	}
	return machine1.ImagePath(name), nil
}

func getMachineByPID(ctx context.Context, c *vtable.Call, a *API, pid uint32) (dbus.ObjectPath, error) {
	if pid > math.MaxInt32 {
		return "", machine1.Errorf(machine1.ErrInvalidArgs, "Invalid PID %d", pid)
	}
	noMachine := machine1.Errorf(machine1.ErrNoMachineForPID, "PID %d does not belong to any known machine", pid)

	var process *proc.PIDFD
	if pid == 0 {
		caller, err := a.authority.BusCaller(ctx, c.Sender)
		if err != nil {
			return "", err
		}
		if caller.PIDFD == nil {
			return "", noMachine
		}
		process = caller.PIDFD
	} else {
		var err error
		if process, err = proc.Open(int(pid)); err != nil {
			return "", noMachine
		}
	}
	defer process.Close()

	m, err := a.machines.ByPID(ctx, process)
	if err != nil {
		return "", noMachine
	}
	return machine1.MachinePath(m.Name), nil
}

func listMachines(_ context.Context, _ *vtable.Call, a *API) ([]machine1.ListedMachine, error) {
	view := a.machines.View()
	rows := make([]machine1.ListedMachine, 0, view.Len())
	for m := range view.All() {
		rows = append(rows, listed(m))
	}
	return rows, nil
}

func listImages(ctx context.Context, _ *vtable.Call, a *API) ([]machine1.ListedImage, error) {
	images, err := a.images.List(ctx)
	if err != nil {
		return nil, err
	}
	rows := make([]machine1.ListedImage, 0, len(images))
	for _, i := range images {
		rows = append(rows, listedImage(i))
	}
	return rows, nil
}

func unregisterMachine(ctx context.Context, c *vtable.Call, a *API, name string) error {
	m, err := a.find(name)
	if err != nil {
		return err
	}
	m, err = a.authorize(ctx, c, m, question{
		action:      machine1.ActionManageMachines,
		details:     map[string]string{"machine": m.Name, "verb": "unregister"},
		ownerPasses: true,
	})
	if err != nil {
		return err
	}
	return a.machines.Unregister(ctx, m.Name)
}

func terminateMachine(ctx context.Context, c *vtable.Call, a *API, name string) error {
	m, err := a.find(name)
	if err != nil {
		return err
	}
	return terminate(ctx, c, machineObject{a, m})
}

func killMachine(ctx context.Context, c *vtable.Call, a *API, name, whom string, signal int32) error {
	m, err := a.find(name)
	if err != nil {
		return err
	}
	return kill(ctx, c, machineObject{a, m}, whom, signal)
}

func getMachineAddresses(ctx context.Context, c *vtable.Call, a *API, name string) ([]machine1.Address, error) {
	m, err := a.find(name)
	if err != nil {
		return nil, err
	}
	return getAddresses(ctx, c, machineObject{a, m})
}

func getMachineSSHInfo(ctx context.Context, c *vtable.Call, a *API, name string) (address, key string, err error) {
	m, err := a.find(name)
	if err != nil {
		return "", "", err
	}
	return getSSHInfo(ctx, c, machineObject{a, m})
}

func getMachineOSRelease(ctx context.Context, c *vtable.Call, a *API, name string) (map[string]string, error) {
	m, err := a.find(name)
	if err != nil {
		return nil, err
	}
	return getOSRelease(ctx, c, machineObject{a, m})
}

func openMachinePTY(ctx context.Context, c *vtable.Call, a *API, name string) (dbus.UnixFD, string, error) {
	m, err := a.find(name)
	if err != nil {
		return -1, "", err
	}
	return openPTY(ctx, c, machineObject{a, m})
}

func openMachineLogin(ctx context.Context, c *vtable.Call, a *API, name string) (dbus.UnixFD, string, error) {
	m, err := a.find(name)
	if err != nil {
		return -1, "", err
	}
	return openLogin(ctx, c, machineObject{a, m})
}

func openMachineShell(ctx context.Context, c *vtable.Call, a *API, name, user, path string, args, environment []string) (dbus.UnixFD, string, error) {
	m, err := a.find(name)
	if err != nil {
		return -1, "", err
	}
	return openShell(ctx, c, machineObject{a, m}, user, path, args, environment)
}

func openMachineRootDirectory(ctx context.Context, c *vtable.Call, a *API, name string) (dbus.UnixFD, error) {
	m, err := a.find(name)
	if err != nil {
		return -1, err
	}
	return openRootDirectory(ctx, c, machineObject{a, m})
}

func getMachineUIDShift(ctx context.Context, c *vtable.Call, a *API, name string) (uint32, error) {
	m, err := a.find(name)
	if err != nil {
		return 0, err
	}
	return getUIDShift(ctx, c, machineObject{a, m})
}

func poolPath(context.Context, *API) (string, error) { return machine1.PoolPath, nil }

// unknownBytes stands for a size that only a btrfs quota would tell.
func unknownBytes(context.Context, *API) (uint64, error) { return math.MaxUint64, nil }
