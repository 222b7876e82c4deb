package machd

import (
	"time"

	"github.com/godbus/dbus/v5"
)

// A MachineOverview is what there is to tell of one machine at a glance. It goes
// over the bus as a structure; what is not known is zero.
type MachineOverview struct {
	Name, Class, Service string
	ID                   string // 32 hexadecimal digits
	State                string
	Unit, Subgroup       string
	Leader, Supervisor   uint32 // PIDs on the host
	Since                uint64 // when it was registered, µs since the epoch
	RootDirectory        string
	UID                  uint32  // who registered it
	Interfaces           []int32 // indices of links on the host's side

	// Of its os-release file. OSError is the name of the error if that could not
	// be read, Timeout if the machine does not let it be.
	OSID, OSVersion, OSName string
	OSError                 string

	Addresses    []string // the most useful first
	AddressError string   // as OSError

	Link   string   // of the host, that leads to it
	Zone   string   // that Link is the bridge of
	Ports  []string // that lead to it, [ADDR:]HOST[:GUEST]/PROTOCOL; both may be ranges
	Inward []string // services of the host that it has, GUEST[:HOST]/PROTOCOL
}

// OverviewOptions are what an overview can be told.
type OverviewOptions struct {
	Patience time.Duration // patience: how long one machine may take; 3 s if left out, 25 s at most
	Paused   bool          // paused: look whether machines stand still as well, whose state is `paused` then
}

func (o *OverviewOptions) table() table {
	return table{"patience": &o.Patience, "paused": &o.Paused}
}

// StatePaused is the state, in an overview, of a machine that runs but stands
// still: a container with all its processes, a virtual machine with its processors. The state of its object on the bus is "running".
const StatePaused = "paused"

// Variants returns o as it goes over the bus.
func (o OverviewOptions) Variants() map[string]dbus.Variant { return o.table().variants() }

// ParseOverviewOptions reads options that came over the bus, as ParseBindOptions
// does.
func ParseOverviewOptions(options map[string]dbus.Variant) (o OverviewOptions, err error) {
	err = o.table().parse(options)
	return o, err
}
