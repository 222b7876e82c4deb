// Package machine1 is the contract between machd, its clients and every other
// program that speaks org.freedesktop.machine1: names, object paths, wire
// types and errors. It does no I/O and holds no connection.
package machine1

import (
	"net/netip"

	"github.com/godbus/dbus/v5"
)

// Names on the bus.
const (
	BusName          = "org.freedesktop.machine1"
	ObjectPath       = dbus.ObjectPath("/org/freedesktop/machine1")
	ManagerInterface = "org.freedesktop.machine1.Manager"
	MachineInterface = "org.freedesktop.machine1.Machine"
	ImageInterface   = "org.freedesktop.machine1.Image"

	// Host is the name of the host's own machine and image. It is valid in
	// look-ups only, never in a registration.
	Host = ".host"
)

// Paths on the host. Other programs read them, so they are part of the contract.
const (
	// StateDir holds one file per machine and a unit: link per owned unit.
	StateDir = "/run/systemd/machines"
	// VarlinkSocket serves io.systemd.Machine and io.systemd.MachineImage.
	VarlinkSocket = "/run/systemd/machine/io.systemd.Machine"
	// PoolPath is where new images are made.
	PoolPath = "/var/lib/machines"
)

// polkit actions of org.freedesktop.machine1.
const (
	ActionLogin           = "org.freedesktop.machine1.login"
	ActionHostLogin       = "org.freedesktop.machine1.host-login"
	ActionShell           = "org.freedesktop.machine1.shell"
	ActionHostShell       = "org.freedesktop.machine1.host-shell"
	ActionOpenPTY         = "org.freedesktop.machine1.open-pty"
	ActionHostOpenPTY     = "org.freedesktop.machine1.host-open-pty"
	ActionManageMachines  = "org.freedesktop.machine1.manage-machines"
	ActionInspectMachines = "org.freedesktop.machine1.inspect-machines"
	ActionCreateMachine   = "org.freedesktop.machine1.create-machine"
	ActionRegisterMachine = "org.freedesktop.machine1.register-machine"
	ActionManageImages    = "org.freedesktop.machine1.manage-images"
	ActionInspectImages   = "org.freedesktop.machine1.inspect-images"
)

// A Class says what kind of machine it is.
type Class string

// The classes. Only containers and VMs can be registered.
const (
	ClassContainer Class = "container"
	ClassVM        Class = "vm"
	ClassHost      Class = "host"
)

// Registrable reports whether a machine of class c may be registered.
func (c Class) Registrable() bool { return c == ClassContainer || c == ClassVM }

// A State is where a machine is in its life.
type State string

// The states. A machine is opening while its scope is being started.
const (
	StateOpening State = "opening"
	StateRunning State = "running"
	StateClosing State = "closing"
)

// VSockCIDAny is the CID of a machine whose CID is unknown (VMADDR_CID_ANY).
const VSockCIDAny = 0xFFFFFFFF

// ListedMachine is one row of ListMachines, signature (ssso).
type ListedMachine struct {
	Name    string
	Class   string
	Service string
	Path    dbus.ObjectPath
}

// ListedImage is one row of ListImages, signature (ssbttto). Times are
// microseconds since the epoch, 0 when unknown; Usage is in bytes,
// 2^64-1 when unknown.
type ListedImage struct {
	Name     string
	Type     string
	ReadOnly bool
	Created  uint64
	Modified uint64
	Usage    uint64
	Path     dbus.ObjectPath
}

// Address is one row of GetMachineAddresses, signature (iay). Family is
// Linux's number: 2 for IPv4, 10 for IPv6.
type Address struct {
	Family int32
	Bytes  []byte
}

// Addr returns the address; it is invalid if the bytes are not of its family.
func (a Address) Addr() netip.Addr {
	addr, _ := netip.AddrFromSlice(a.Bytes)
	return addr
}

// Property is one element of an a(sv). Order and duplicates carry meaning
// there (DeviceAllow is sent twice), so it is a list and never a map.
type Property struct {
	Name  string
	Value dbus.Variant
}
