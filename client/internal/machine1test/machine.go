package machine1test

import (
	"maps"
	"net/netip"
	"os"
	"slices"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

// A Machine is what machined knows about one, and how it behaves.
type Machine struct {
	Name, Class, Service string
	Properties           map[string]any // besides Name, Class and Service

	OSRelease map[string]string // nil: the machine does not say
	Addresses []string          // nil: no private network
	UIDShift  uint32

	// Deaf machines ignore what is sent to their init; Booting ones ignore the
	// first of it.
	Deaf, Booting bool
	// Terminal plays the machine's side of a login; it ends with the slave
	// closed. Shells run the command they are asked for.
	Terminal func(slave *os.File)
	// Root is the directory that is the machine's root, "" if nobody may look
	// into that.
	Root string
}

// An Image is one row of ListImages and the properties of its object.
type Image struct {
	machine1.ListedImage
	Properties map[string]any
}

// A Unit is what PID 1 knows about one.
type Unit struct {
	Properties map[string]any // of the unit and of the service, by name
	Processes  []Process
	// JobResult is how a start of the unit ends; "" is "done".
	JobResult string
}

// A Process is one row of GetUnitProcesses.
type Process struct {
	Cgroup  string
	PID     uint32
	Command string
}

// C8NS is the container of the documentation's examples: running, with an
// operating system and two addresses.
func C8NS() Machine {
	return Machine{
		Name: "c8-ns", Class: "container", Service: "systemd-nspawn",
		Properties: map[string]any{
			"Id":                 []byte{0x8b, 0x1d, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14},
			"Timestamp":          uint64(1795536687000000),
			"TimestampMonotonic": uint64(1661234567),
			"Unit":               "systemd-nspawn@c8-ns.service",
			"Leader":             uint32(31698),
			"RootDirectory":      "/var/lib/machines/c8-ns",
			"NetworkInterfaces":  []int32{},
			"State":              "running",
		},
		OSRelease: map[string]string{"ID": "centos", "VERSION_ID": "8", "PRETTY_NAME": "CentOS Linux 8 (Core)"},
		Addresses: []string{"192.168.88.27", "fe80::1c3f:aff:fe12:1"},
		UIDShift:  656146432,
	}
}

func host() Machine {
	return Machine{
		Name: machine1.Host, Class: "host",
		Properties: map[string]any{
			"Id":                 []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
			"Timestamp":          uint64(1795536000000000),
			"TimestampMonotonic": uint64(0),
			"Unit":               "-.slice",
			"Leader":             uint32(1),
			"RootDirectory":      "/",
			"NetworkInterfaces":  []int32{},
			"State":              "running",
		},
		OSRelease: map[string]string{"ID": "centos", "VERSION_ID": "8", "PRETTY_NAME": "CentOS Linux 8 (Core)"},
		Addresses: []string{"192.168.122.231", "10.0.0.5", "fe80::5054:ff:fe12:1"},
	}
}

// Add registers m and announces it.
func (w *World) Add(m Machine) {
	w.mu.Lock()
	w.machines[m.Name] = m
	conn := w.machined
	w.mu.Unlock()
	if conn != nil {
		conn.Emit(machine1.ObjectPath, machine1.ManagerInterface+".MachineNew", m.Name, machine1.MachinePath(m.Name))
	}
}

// Remove forgets the machine and announces that, if machined is there to.
func (w *World) Remove(name string) {
	w.mu.Lock()
	m, ok := w.machines[name]
	delete(w.machines, name)
	if unit, _ := m.Properties["Unit"].(string); unit != "" {
		w.setUnitLocked(unit, "ActiveState", "inactive")
	}
	conn := w.machined
	w.mu.Unlock()
	if ok && conn != nil {
		conn.Emit(machine1.ObjectPath, machine1.ManagerInterface+".MachineRemoved", name, machine1.MachinePath(name))
	}
}

// Machine returns what machined knows about name.
func (w *World) Machine(name string) (Machine, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m, ok := w.machines[name]
	return m, ok
}

// AddImage puts an image where machined looks for them.
func (w *World) AddImage(image Image) {
	w.mu.Lock()
	defer w.mu.Unlock()
	image.Path = machine1.ImagePath(image.Name)
	w.images = append(w.images, image)
}

func (w *World) image(name string) (Image, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, image := range w.images {
		if image.Name == name {
			return image, true
		}
	}
	return Image{}, false
}

func (w *World) sorted() []Machine {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []Machine
	for _, name := range slices.Sorted(maps.Keys(w.machines)) {
		list = append(list, w.machines[name])
	}
	return list
}

func (m Machine) variants() map[string]dbus.Variant {
	all := map[string]dbus.Variant{
		"Name":    dbus.MakeVariant(m.Name),
		"Class":   dbus.MakeVariant(m.Class),
		"Service": dbus.MakeVariant(m.Service),
	}
	for name, value := range m.Properties {
		all[name] = dbus.MakeVariant(value)
	}
	return all
}

func (m Machine) addresses() []machine1.Address {
	list := []machine1.Address{}
	for _, text := range m.Addresses {
		addr := netip.MustParseAddr(text)
		family := int32(unix.AF_INET)
		if addr.Is6() {
			family = unix.AF_INET6
		}
		list = append(list, machine1.Address{Family: family, Bytes: addr.AsSlice()})
	}
	return list
}
