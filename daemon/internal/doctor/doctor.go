// Package doctor looks for what is wrong with machines and with what the host
// does for them, says why and which command mends it, and mends what cannot do
// harm. It believes nobody: it looks at links, rules and files as they are, and
// sends packets where that is the only way to know. It changes nothing unless
// it was told to.
//
// Each family of checks has a file; checks.go lists them.
package doctor

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

const (
	// machineLimit is how long all that is to be known of one machine may take.
	machineLimit = 3 * time.Second
	// hostLimit is the same for the host, and for all machines there are.
	hostLimit = 20 * time.Second
	// maxRounds is how often is mended: under one thing another may show.
	maxRounds = 3
	// atOnce is how many machines are looked at at a time. Most of it is waiting
	// for packets.
	atOnce = 16
)

// Units is what is asked of PID 1.
type Units interface {
	ListActive(ctx context.Context, pattern string) ([]string, error)
	HasProcesses(ctx context.Context, name string) (bool, error)
	Stop(ctx context.Context, name, mode string) (job dbus.ObjectPath, err error)
}

// Network is what is asked of whoever gives machines their networks.
type Network interface {
	// Attachments returns the networks of the machines there are.
	Attachments() []Attachment
	// Starting returns the machines that have a network and are not there yet.
	Starting() []string
	// Mend makes links, rules and kernel settings what they should be, and
	// returns what it had to do.
	Mend(ctx context.Context) ([]string, error)
}

// An Attachment is the network that a machine should have.
type Attachment struct {
	Machine   string
	Kind      string           // as of machd.NetworkStatus: veth, zone, bridge, other
	Link      string           // the host's side: ve-NAME, or the bridge of a zone
	Port      string           // the machine's port of that bridge
	GuestLink string           // in the machine; "" is host0
	Addresses []netip.Prefix   // of the machine, with the length of its network
	Gateways  []netip.Addr     // the host's addresses on the link
	MAC       net.HardwareAddr // that was asked for; nil for any
	Ports     []machd.Port
	Inward    []machd.Port // services of the host that it finds at its gateway
	Managed   bool         // by us
	By        string       // who manages it otherwise
	Problems  []string     // that came up when it was made
}

// Paths are where things are on the host.
type Paths struct {
	States    string   // state files of machines
	Nspawn    string   // what systemd-nspawn needs at run time
	Locks     string   // locks of images
	Images    []string // directories with images, and their own locks
	Records   string   // what package network has written down, a file a machine
	Resolv    string   // the host's resolv.conf
	Sysctl    string   // /proc/sys
	Processes string   // /proc
	Units     string   // where an administrator's files of units are
}

// SystemPaths are those of the system's daemon.
func SystemPaths() Paths {
	return Paths{
		States:    machine1.StateDir,
		Nspawn:    "/run/systemd/nspawn",
		Locks:     "/run/systemd/nspawn/locks",
		Images:    []string{"/var/lib/machines"},
		Records:   "/run/machd/network",
		Resolv:    "/etc/resolv.conf",
		Sysctl:    "/proc/sys",
		Processes: "/proc",
		Units:     "/etc/systemd/system",
	}
}

// Config is what a Doctor looks at. Network may be nil: then nobody gives
// machines a network. So may LookForImage, whose error is
// machine1.ErrNoSuchImage if there is none of that name.
type Config struct {
	Machines func() []machine.Machine // the containers and VMs, without the host
	Units    Units
	Network  Network
	Host     *Space // nil is the namespace of this process
	Paths    Paths
	Log      *slog.Logger

	LookForImage func(ctx context.Context, name string) error
}

// A Doctor diagnoses. One diagnosis goes on at a time: two would meet each
// other's packets.
type Doctor struct {
	cfg       Config
	startTime time.Duration
	patience  time.Duration
	busy      chan struct{} // holds a token while nobody diagnoses
}

// New returns the doctor of what cfg describes.
func New(cfg Config) *Doctor {
	if cfg.Host == nil {
		cfg.Host = &Space{}
	}
	d := &Doctor{cfg: cfg, startTime: startTime, patience: patience, busy: make(chan struct{}, 1)}
	d.busy <- struct{}{}
	return d
}

// Diagnose looks at the machine called name, or at the host and all machines if
// that is empty. What is well is told, too, of one machine check by check. The
// error is machine1.ErrNoSuchMachine if there is no such machine.
func (d *Doctor) Diagnose(ctx context.Context, name string, o machd.DiagnoseOptions) ([]machd.Finding, error) {
	select {
	case <-d.busy:
		defer func() { d.busy <- struct{}{} }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	found, err := d.look(ctx, name)
	if err != nil || !o.Fix {
		return plain(found), err
	}
	var fixed []finding
	for range maxRounds {
		if mend(ctx, found) == 0 {
			break
		}
		again, err := d.look(ctx, name)
		if err != nil {
			break // the machine went meanwhile
		}
		gone := missing(found, again)
		fixed = append(fixed, gone...)
		found = again
		if len(gone) == 0 {
			break
		}
	}
	return plain(append(fixed, owned(found)...)), nil
}

// look makes all checks that are for name.
func (d *Doctor) look(ctx context.Context, name string) ([]finding, error) {
	ctx, cancel := context.WithTimeout(ctx, hostLimit)
	defer cancel()
	v := d.newVisit()
	defer v.close()
	v.single = name != ""
	if !v.single {
		return v.everything(ctx), nil
	}
	p, ok := v.patient(name)
	if !ok {
		return nil, machine1.Errorf(machine1.ErrNoSuchMachine, "No machine '%s' known", name)
	}
	defer p.close()
	return p.examine(ctx), nil
}

// everything looks at the host, and then at every machine: what a diagnosis needs
// itself is not to be taken for something that was left.
func (v *visit) everything(ctx context.Context) []finding {
	list := run(ctx, v, &v.running, "", hostChecks)
	all := make([][]finding, len(v.machines))
	turns := make(chan struct{}, atOnce)
	var wait sync.WaitGroup
	for i, m := range v.machines {
		wait.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			if p, ok := v.patient(m.Name); ok {
				defer p.close()
				all[i] = summary(m.Name, p.examine(ctx))
			}
		})
	}
	wait.Wait()
	return append(list, slices.Concat(all...)...)
}
