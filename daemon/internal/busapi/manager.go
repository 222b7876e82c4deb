package busapi

import (
	"context"
	"math"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/machine1"
)

// managerInterface has its rows in the order of the reference's introspection.
//
// Reference: machined-dbus.c, manager_vtable.
var managerInterface = vtable.Interface{
	Name: machine1.ManagerInterface,
	Methods: []vtable.Method{
		{Name: "GetMachine", In: "name", Out: "machine", Func: vtable.Handler(getMachine)},
		{Name: "GetImage", In: "name", Out: "image", Slow: true, Func: getImage},
		{Name: "GetMachineByPID", In: "pid", Out: "machine", Slow: true, Func: getMachineByPID},
		{Name: "ListMachines", Out: "machines", Func: listMachines},
		{Name: "ListImages", Out: "images", Slow: true, Func: listImages},
		{Name: "CreateMachine", In: "name id service class leader root_directory scope_properties", Out: "path",
			Access: machine1.ActionCreateMachine, Slow: true, Func: createMachine},
		{Name: "CreateMachineWithNetwork", In: "name id service class leader root_directory ifindices scope_properties", Out: "path",
			Access: machine1.ActionCreateMachine, Slow: true, Func: createMachineWithNetwork},
		{Name: "CreateMachineEx", In: "name properties scope_properties", Out: "path",
			Access: machine1.ActionCreateMachine, Slow: true, Func: createMachineEx},
		{Name: "RegisterMachine", In: "name id service class leader root_directory", Out: "path",
			Access: machine1.ActionRegisterMachine, Slow: true, Func: registerMachine},
		{Name: "RegisterMachineWithNetwork", In: "name id service class leader root_directory ifindices", Out: "path",
			Access: machine1.ActionRegisterMachine, Slow: true, Func: registerMachineWithNetwork},
		{Name: "RegisterMachineEx", In: "name properties", Out: "path",
			Access: machine1.ActionRegisterMachine, Slow: true, Func: registerMachineEx},
		{Name: "UnregisterMachine", In: "name", Access: machine1.ActionManageMachines, Slow: true, Func: ofMachine(unregister)},
		{Name: "TerminateMachine", In: "id", Access: machine1.ActionManageMachines, Slow: true, Func: ofMachine(terminate)},
		{Name: "KillMachine", In: "name whom signal", Access: machine1.ActionManageMachines, Slow: true, Func: ofMachine(kill)},
		{Name: "GetMachineAddresses", In: "name", Out: "addresses", Slow: true, Func: ofMachine(getAddresses)},
		{Name: "GetMachineSSHInfo", In: "name", Out: "ssh_address ssh_private_key_path", Func: ofMachine(getSSHInfo)},
		{Name: "GetMachineOSRelease", In: "name", Out: "fields", Access: machine1.ActionInspectMachines, Slow: true, Func: ofMachine(getOSRelease)},
		{Name: "OpenMachinePTY", In: "name", Out: "pty pty_path", Access: machine1.ActionOpenPTY, Slow: true, Func: ofMachine(openPTY)},
		{Name: "OpenMachineLogin", In: "name", Out: "pty pty_path", Access: machine1.ActionLogin, Slow: true, Func: ofMachine(openLogin)},
		{Name: "OpenMachineShell", In: "name user path args environment", Out: "pty pty_path",
			Access: machine1.ActionShell, Slow: true, Func: ofMachine(openShell)},
		{Name: "BindMountMachine", In: "name source destination read_only mkdir",
			Access: machine1.ActionManageMachines, Slow: true, Func: ofMachine(bindMount)},
		{Name: "CopyFromMachine", In: "name source destination", Access: machine1.ActionManageMachines, Slow: true, Func: ofMachine(copyFrom)},
		{Name: "CopyToMachine", In: "name source destination", Access: machine1.ActionManageMachines, Slow: true, Func: ofMachine(copyTo)},
		{Name: "CopyFromMachineWithFlags", In: "name source destination flags",
			Access: machine1.ActionManageMachines, Slow: true, Func: ofMachine(copyFromWithFlags)},
		{Name: "CopyToMachineWithFlags", In: "name source destination flags",
			Access: machine1.ActionManageMachines, Slow: true, Func: ofMachine(copyToWithFlags)},
		{Name: "OpenMachineRootDirectory", In: "name", Out: "fd",
			Access: machine1.ActionManageMachines, Slow: true, Func: ofMachine(openRootDirectory)},
		{Name: "GetMachineUIDShift", In: "name", Out: "shift", Slow: true, Func: ofMachine(getUIDShift)},
		{Name: "RemoveImage", In: "name", Access: machine1.ActionManageImages, Slow: true, Func: ofImage(removeImage)},
		{Name: "RenameImage", In: "name new_name", Access: machine1.ActionManageImages, Slow: true, Func: ofImage(renameImage)},
		{Name: "CloneImage", In: "name new_name read_only", Access: machine1.ActionManageImages, Slow: true, Func: ofImage(cloneImage)},
		{Name: "MarkImageReadOnly", In: "name read_only", Access: machine1.ActionManageImages, Slow: true, Func: ofImage(markImageReadOnly)},
		{Name: "GetImageHostname", In: "name", Out: "hostname", Slow: true, Func: ofImage(getImageHostname)},
		{Name: "GetImageMachineID", In: "name", Out: "id", Slow: true, Func: ofImage(getImageMachineID)},
		{Name: "GetImageMachineInfo", In: "name", Out: "machine_info", Slow: true, Func: ofImage(getImageMachineInfo)},
		{Name: "GetImageOSRelease", In: "name", Out: "os_release", Slow: true, Func: ofImage(getImageOSRelease)},
		{Name: "SetPoolLimit", In: "size", Access: machine1.ActionManageMachines, Slow: true, Func: setPoolLimit},
		{Name: "SetImageLimit", In: "name size", Access: machine1.ActionManageImages, Slow: true, Func: ofImage(setImageLimit)},
		{Name: "CleanPool", In: "mode", Out: "images", Access: machine1.ActionManageMachines, Slow: true, Func: cleanPool},
		{Name: "MapFromMachineUser", In: "name uid_inner", Out: "uid_outer", Slow: true, Func: mapFromMachineUser},
		{Name: "MapToMachineUser", In: "uid_outer", Out: "machine_name machine_path uid_inner", Slow: true, Func: mapToMachineUser},
		{Name: "MapFromMachineGroup", In: "name gid_inner", Out: "gid_outer", Slow: true, Func: mapFromMachineGroup},
		{Name: "MapToMachineGroup", In: "gid_outer", Out: "machine_name machine_path gid_inner", Slow: true, Func: mapToMachineGroup},
	},
	Properties: []vtable.Property{
		{Name: "PoolPath", Emits: vtable.EmitsFalse, Slow: true, Get: poolPath},
		{Name: "PoolUsage", Emits: vtable.EmitsFalse, Slow: true, Get: poolUsage},
		{Name: "PoolLimit", Emits: vtable.EmitsFalse, Slow: true, Get: poolLimit},
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

// The path is made of the name as it was given, and no image can have a name
// that is not valid. Reference: machined-dbus.c, method_get_image.
func getImage(ctx context.Context, _ *vtable.Call, a *API, name string) (dbus.ObjectPath, error) {
	if !machine1.ValidImageName(name) {
		return "", machine1.Errorf(machine1.ErrNoSuchImage, "No image '%s' known", name)
	}
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
		caller, err := a.callers.BusCaller(ctx, c.Sender)
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

// unregister is the one method for a machine that the machine's own object
// does not have.
func unregister(ctx context.Context, c *vtable.Call, o machineObject) error {
	m, err := o.ask(ctx, c, access.Unregister, nil)
	if err != nil {
		return err
	}
	return o.api.machines.Unregister(ctx, m.Name)
}
