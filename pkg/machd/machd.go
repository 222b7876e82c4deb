// Package machd is the contract of what machd offers beyond
// org.freedesktop.machine1: interfaces of our own name beside the stock ones,
// on the same bus name and objects. It does no I/O and holds no connection.
package machd

// Interfaces on the bus.
const (
	// ManagerInterface is on machine1.ObjectPath. Its methods name the
	// machine or image in their first argument.
	ManagerInterface = "org.machd.Manager1"
	// MachineInterface is on every object of a machine.
	MachineInterface = "org.machd.Machine1"
)

// Interfaces on the Varlink socket.
const (
	MachineVarlink      = "org.machd.Machine"
	MachineImageVarlink = "org.machd.MachineImage"
)

// polkit actions. They are apart from machine1's because those were granted
// for less.
const (
	ActionBind         = "org.machd.bind"
	ActionCopy         = "org.machd.copy"
	ActionManageImages = "org.machd.manage-images"
	ActionStart        = "org.machd.start"
	ActionStop         = "org.machd.stop"
	ActionExec         = "org.machd.exec"
	ActionSetLimits    = "org.machd.set-limits"

	ActionManageNetwork = "org.machd.manage-network"
)
