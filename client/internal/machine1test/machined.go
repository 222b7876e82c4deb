package machine1test

import (
	"maps"
	"strings"
	"syscall"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machine1"
)

const (
	properties   = "org.freedesktop.DBus.Properties"
	machinesNode = machine1.ObjectPath + "/machine"
	imagesNode   = machine1.ObjectPath + "/image"
)

func (w *World) exportMachined(conn *dbus.Conn) error {
	methods := map[string]any{
		"ListMachines":             w.listMachines,
		"ListImages":               w.listImages,
		"GetMachine":               w.getMachine,
		"GetImage":                 w.getImage,
		"GetMachineOSRelease":      w.getOSRelease,
		"GetMachineAddresses":      w.getAddresses,
		"GetMachineUIDShift":       w.getUIDShift,
		"KillMachine":              w.killMachine,
		"TerminateMachine":         w.terminateMachine,
		"UnregisterMachine":        w.unregisterMachine,
		"RegisterMachine":          w.registerMachine,
		"CreateMachineWithNetwork": w.createMachine,
		"OpenMachinePTY":           w.openPTY,
		"OpenMachineLogin":         w.openLogin,
		"OpenMachineShell":         w.openShell,
		"OpenMachineRootDirectory": w.openRoot,
	}
	maps.Copy(methods, w.stockChanges())
	if err := conn.ExportMethodTable(methods, machine1.ObjectPath, machine1.ManagerInterface); err != nil {
		return err
	}
	if err := w.exportMachd(conn); err != nil {
		return err
	}
	if err := conn.ExportMethodTable(map[string]any{"Introspect": w.introspect}, machine1.ObjectPath, introspectable); err != nil {
		return err
	}
	if err := conn.ExportMethodTable(map[string]any{"GetAll": w.getAllOfManager}, machine1.ObjectPath, properties); err != nil {
		return err
	}
	if err := conn.ExportSubtreeMethodTable(map[string]any{"GetAll": w.getAllOfMachine}, machinesNode, properties); err != nil {
		return err
	}
	return conn.ExportSubtreeMethodTable(map[string]any{"GetAll": w.getAllOfImage}, imagesNode, properties)
}

func (w *World) find(name string) (Machine, *dbus.Error) {
	m, ok := w.Machine(name)
	if !ok {
		return m, Error("org.freedesktop.machine1.NoSuchMachine", "No machine '%s' known", name)
	}
	return m, nil
}

func (w *World) listMachines(msg dbus.Message) ([]machine1.ListedMachine, *dbus.Error) {
	machines := w.sorted() // before a test that awaits the call goes on
	if err := w.enter(msg); err != nil {
		return nil, err
	}
	rows := []machine1.ListedMachine{}
	for _, m := range machines {
		rows = append(rows, machine1.ListedMachine{Name: m.Name, Class: m.Class, Service: m.Service, Path: machine1.MachinePath(m.Name)})
	}
	return rows, nil
}

func (w *World) listImages(msg dbus.Message) ([]machine1.ListedImage, *dbus.Error) {
	if err := w.enter(msg); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	rows := []machine1.ListedImage{}
	for _, image := range w.images {
		rows = append(rows, image.ListedImage)
	}
	return rows, nil
}

func (w *World) getMachine(msg dbus.Message, name string) (dbus.ObjectPath, *dbus.Error) {
	if err := w.enter(msg, name); err != nil {
		return "/", err
	}
	_, err := w.find(name)
	return machine1.MachinePath(name), err
}

func (w *World) getImage(msg dbus.Message, name string) (dbus.ObjectPath, *dbus.Error) {
	if err := w.enter(msg, name); err != nil {
		return "/", err
	}
	if _, ok := w.image(name); !ok {
		return "/", Error("org.freedesktop.machine1.NoSuchImage", "No image '%s' known", name)
	}
	return machine1.ImagePath(name), nil
}

func (w *World) getOSRelease(msg dbus.Message, name string) (map[string]string, *dbus.Error) {
	if err := w.enter(msg, name); err != nil {
		return nil, err
	}
	m, err := w.find(name)
	if err == nil && m.OSRelease == nil {
		err = Error("org.freedesktop.DBus.Error.FileNotFound", "Machine does not contain OS release information")
	}
	return m.OSRelease, err
}

func (w *World) getAddresses(msg dbus.Message, name string) ([]machine1.Address, *dbus.Error) {
	if err := w.enter(msg, name); err != nil {
		return nil, err
	}
	m, err := w.find(name)
	if err == nil && m.Addresses == nil {
		err = Error("org.freedesktop.machine1.NoPrivateNetworking", "Machine %s does not use private networking", name)
	}
	return m.addresses(), err
}

func (w *World) getUIDShift(msg dbus.Message, name string) (uint32, *dbus.Error) {
	if err := w.enter(msg, name); err != nil {
		return 0, err
	}
	m, err := w.find(name)
	return m.UIDShift, err
}

func (w *World) killMachine(msg dbus.Message, name, whom string, signal int32) *dbus.Error {
	if err := w.enter(msg, name, whom, signal); err != nil {
		return err
	}
	m, err := w.find(name)
	switch {
	case err != nil:
		return err
	case m.Class == "host":
		return Error("org.freedesktop.DBus.Error.NotSupported", "Operation not supported")
	case whom == "leader" && signal == int32(syscall.SIGKILL):
		w.Remove(name)
		return nil
	case m.Deaf:
		return nil
	case m.Booting:
		m.Booting = false
		w.Add(m)
		return nil
	}
	switch {
	case whom == "leader" && signal == 38:
		w.Remove(name)
	case whom == "leader" && signal == int32(syscall.SIGINT):
		w.Remove(name)
		w.Add(m)
	}
	return nil
}

func (w *World) terminateMachine(msg dbus.Message, name string) *dbus.Error {
	if err := w.enter(msg, name); err != nil {
		return err
	}
	m, err := w.find(name)
	if err != nil || m.Deaf { // systemd-nspawn waits for the init
		return err
	}
	w.Remove(name)
	return nil
}

func (w *World) unregisterMachine(msg dbus.Message, name string) *dbus.Error {
	if err := w.enter(msg, name); err != nil {
		return err
	}
	_, err := w.find(name)
	if err == nil {
		w.Remove(name)
	}
	return err
}

func (w *World) registerMachine(msg dbus.Message, name string, id []byte, service, class string, leader uint32, root string) (dbus.ObjectPath, *dbus.Error) {
	if err := w.enter(msg, name, service, class, leader, root); err != nil {
		return "/", err
	}
	if _, ok := w.Machine(name); ok {
		return "/", Error("org.freedesktop.machine1.MachineExists", "Machine '%s' already exists", name)
	}
	w.Add(Machine{Name: name, Class: class, Service: service, Properties: map[string]any{"Id": id, "Leader": leader, "RootDirectory": root, "State": "running"}})
	return machine1.MachinePath(name), nil
}

func (w *World) createMachine(msg dbus.Message, name string, id []byte, service, class string, leader uint32, root string, ifindices []int32, scope []machine1.Property) (dbus.ObjectPath, *dbus.Error) {
	return w.registerMachine(msg, name, id, service, class, leader, root)
}

func (w *World) getAllOfManager(msg dbus.Message, iface string) (map[string]dbus.Variant, *dbus.Error) {
	if err := w.enter(msg, iface); err != nil {
		return nil, err
	}
	return map[string]dbus.Variant{
		"PoolPath":  dbus.MakeVariant(machine1.PoolPath),
		"PoolUsage": dbus.MakeVariant(^uint64(0)),
		"PoolLimit": dbus.MakeVariant(^uint64(0)),
	}, nil
}

func (w *World) getAllOfMachine(msg dbus.Message, iface string) (map[string]dbus.Variant, *dbus.Error) {
	if err := w.enter(msg, iface); err != nil {
		return nil, err
	}
	m, err := w.find(nameOf(msg))
	if err != nil {
		return nil, Error("org.freedesktop.DBus.Error.UnknownObject", "Unknown object '%s'.", msg.Headers[dbus.FieldPath].Value())
	}
	return m.variants(), nil
}

func (w *World) getAllOfImage(msg dbus.Message, iface string) (map[string]dbus.Variant, *dbus.Error) {
	if err := w.enter(msg, iface); err != nil {
		return nil, err
	}
	image, _ := w.image(nameOf(msg))
	all := map[string]dbus.Variant{
		"Name":                  dbus.MakeVariant(image.Name),
		"Path":                  dbus.MakeVariant(machine1.PoolPath + "/" + image.Name),
		"Type":                  dbus.MakeVariant(image.Type),
		"ReadOnly":              dbus.MakeVariant(image.ReadOnly),
		"CreationTimestamp":     dbus.MakeVariant(image.Created),
		"ModificationTimestamp": dbus.MakeVariant(image.Modified),
		"Usage":                 dbus.MakeVariant(image.Usage),
	}
	for name, value := range image.Properties {
		all[name] = dbus.MakeVariant(value)
	}
	return all, nil
}

func nameOf(msg dbus.Message) string {
	path, _ := msg.Headers[dbus.FieldPath].Value().(dbus.ObjectPath)
	label := string(path)[strings.LastIndexByte(string(path), '/')+1:]
	return machine1.UnescapeLabel(label)
}
