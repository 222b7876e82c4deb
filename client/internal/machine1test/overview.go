package machine1test

import (
	"encoding/hex"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machd"
)

// TellOverviews has machd answer ListOverview, as it does since it has been
// there. Who does not is asked about each machine.
func (w *World) TellOverviews() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.overviews = true
}

// listOverview tells about machines that hang what machd tells: the call does
// not.
func (w *World) listOverview(msg dbus.Message, names []string, _ map[string]dbus.Variant) ([]machd.MachineOverview, *dbus.Error) {
	w.mu.Lock()
	told := w.overviews
	w.mu.Unlock()
	if !told {
		return nil, Error("org.freedesktop.DBus.Error.UnknownMethod", "Unknown method ListOverview")
	}
	if err := w.enter(msg); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	wanted := map[string]bool{}
	for _, name := range names {
		wanted[name] = true
	}
	rows := []machd.MachineOverview{}
	for name, m := range w.machines {
		if len(wanted) == 0 || wanted[name] {
			rows = append(rows, w.overviewOf(m))
		}
	}
	return rows, nil
}

func (w *World) overviewOf(m Machine) machd.MachineOverview {
	row := machd.MachineOverview{
		Name: m.Name, Class: m.Class, Service: m.Service,
		OSID: m.OSRelease["ID"], OSVersion: m.OSRelease["VERSION_ID"], OSName: m.OSRelease["PRETTY_NAME"],
		Addresses: m.Addresses,
	}
	row.State, _ = m.Properties["State"].(string)
	row.Unit, _ = m.Properties["Unit"].(string)
	row.Leader, _ = m.Properties["Leader"].(uint32)
	row.Since, _ = m.Properties["Timestamp"].(uint64)
	row.RootDirectory, _ = m.Properties["RootDirectory"].(string)
	if id, ok := m.Properties["Id"].([]byte); ok {
		row.ID = hex.EncodeToString(id)
	}
	const timedOut = "org.freedesktop.DBus.Error.Timeout"
	if w.hung["GetMachineOSRelease "+m.Name] {
		row.OSID, row.OSVersion, row.OSName, row.OSError = "", "", "", timedOut
	}
	if w.hung["GetMachineAddresses "+m.Name] {
		row.Addresses, row.AddressError = nil, timedOut
	}
	for _, p := range w.ports {
		if p.Machine == m.Name {
			text := machd.Port{Protocol: machd.Protocol(p.Protocol), Host: p.Host, Guest: p.Guest}.String()
			row.Ports = append(row.Ports, text)
		}
	}
	return row
}
