package main

import (
	"context"
	"encoding/hex"
	"net/netip"
	"sync"
	"time"

	"github.com/machd/machd/client"
	"github.com/machd/machd/pkg/machd"
)

// A report is what status tells of a machine. What could not be learnt is zero.
type report struct {
	client.Machine
	detail  client.ListedDetail
	shift   uint32
	ids     string // what machinectl calls the shift
	network machd.NetworkStatus
	ports   []machd.PortStatus
	usage   machd.Usage
	log     string // the last lines, ready to be printed

	cgroup    string
	processes []client.Process
}

// report asks for all of it at the same time. Only that the machine is unknown
// is an error.
func (a *app) report(ctx context.Context, name string) (*report, error) {
	m, err := a.client.Machine(ctx, name)
	if err != nil {
		return nil, lookupError(err)
	}
	r := &report{Machine: m}
	patience := a.timeout.or(listTimeout)
	brief, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	questions := []func(){
		func() {
			r.detail = a.detailOf(ctx, m.Name, patience)
		},
		func() {
			r.shift, _ = a.client.UIDShift(brief, m.Name)
			if r.ids = "  UID Shift"; r.shift != 0 && a.stock && systemdNumber(ctx, a.client) > 257 {
				r.ids = "\tID Shift"
			}
		},
	}
	if m.Unit != "" {
		questions = append(questions,
			func() { r.cgroup, r.processes, _ = a.client.UnitProcesses(ctx, m.Unit) },
			func() {
				if !a.structured() {
					r.log = a.journalText(ctx, m)
				}
			})
	}
	if !a.stock {
		questions = append(questions,
			func() { r.network, _ = a.client.Network(brief, m.Name) },
			func() { r.ports, _ = a.client.Ports(brief, m.Name) },
			func() { r.usage, _ = a.client.MachineUsage(brief, m.Name) })
	}
	var asked sync.WaitGroup
	for _, ask := range questions {
		asked.Go(ask)
	}
	asked.Wait()
	if r.detail.State == machd.StatePaused {
		r.State = machd.StatePaused
	}
	return r, nil
}

// detailOf is what the machine itself has to be asked for.
func (a *app) detailOf(ctx context.Context, name string, patience time.Duration) client.ListedDetail {
	found, err := a.client.Machines(ctx, client.OverviewQuery{Names: []string{name}, Patience: patience, Properties: !a.stock})
	if err != nil || len(found) == 0 {
		return client.ListedDetail{OSError: err, AddressError: err}
	}
	return found[0]
}

// object is r for programs.
func (r *report) object() object {
	return object{
		{"name", r.Name}, {"id", jsonValue(machineID(r.ID))}, {"class", jsonValue(string(r.Class))},
		{"service", jsonValue(r.Service)}, {"state", jsonValue(string(r.State))},
		{"unit", jsonValue(r.Unit)}, {"subgroup", jsonValue(r.Subgroup)},
		{"leader", unless(r.Leader, 0)}, {"supervisor", unless(r.Supervisor, 0)},
		{"since", jsonValue(r.Since)}, {"uptime", uptime(r.Since)},
		{"uid", unless(r.UID, unknownUID)}, {"uid_shift", r.shift}, {"root_directory", jsonValue(r.RootDirectory)},
		{"os", jsonValue(r.detail.OSRelease["ID"])}, {"version", jsonValue(r.detail.OSRelease["VERSION_ID"])},
		{"os_name", jsonValue(r.detail.OSRelease["PRETTY_NAME"])},
		{"addresses", addressTexts(r.detail.Addresses)},
		{"network", r.networkObject()}, {"ports", r.portObjects()},
		{"cpu_seconds", cpuSeconds(r.usage)}, {"memory", r.usage.Memory}, {"tasks", r.usage.Tasks},
		{"io_read", r.usage.IORead}, {"io_written", r.usage.IOWrite},
		{"processes", r.processObjects()},
		{"problems", jsonValue(r.network.Problems)},
	}
}

func (r *report) networkObject() any {
	n := r.network
	if n.Link == "" {
		return nil
	}
	return object{
		{"link", n.Link}, {"guest_link", jsonValue(n.GuestLink)}, {"kind", jsonValue(n.Kind)}, {"zone", jsonValue(n.Zone)},
		{"bridge", jsonValue(n.Bridge)}, {"mac", jsonValue(n.MAC)}, {"gateways", jsonValue(n.Gateways)},
		{"by", jsonValue(n.By)}, {"dns", jsonValue(n.DNS)},
	}
}

func (r *report) portObjects() []object {
	objects := make([]object, len(r.ports))
	list := portList()
	for i, p := range r.ports {
		objects[i] = list.object(p)
	}
	return objects
}

func (r *report) processObjects() []object {
	objects := make([]object, len(r.processes))
	for i, p := range r.processes {
		objects[i] = object{{"pid", p.PID}, {"command", p.Command}, {"cgroup", p.Cgroup}}
	}
	return objects
}

func machineID(id [16]byte) string {
	if id == [16]byte{} {
		return ""
	}
	return hex.EncodeToString(id[:])
}

// uptime is for how long something has been running, as a column's value.
func uptime(since time.Time) any {
	if since.IsZero() {
		return nil
	}
	return time.Since(since).Round(time.Second).Seconds()
}

func cpuSeconds(u machd.Usage) any {
	if u.CPU == nil {
		return nil
	}
	return (time.Duration(*u.CPU) * time.Microsecond).Seconds()
}

func addressTexts(addresses []netip.Addr) []string {
	texts := make([]string, len(addresses))
	for i, addr := range addresses {
		texts[i] = addr.String()
	}
	return texts
}
