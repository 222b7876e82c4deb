package launch

import (
	"log/slog"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/unit"
)

// Units is what a launcher asks of PID 1; *unit.Manager is it.
type Units interface {
	planUnits
	limitUnits
	startUnits
	stopUnits
	dependUnits
}

// Machines tells which machines there are; *machine.Manager does.
type Machines interface {
	View() *machine.View
	Terminating(seen machine.Machine)
}

// Images is what a launcher does with images; *image.Store is it.
type Images interface {
	startImages
}

// Config is what a Launcher stands on.
type Config struct {
	Units    Units
	Machines Machines
	Images   Images
	Guests   Guests
	Network  Network // nil if somebody else sees to the networks of machines

	// Dir keeps a record of each start under way, for the daemon that comes
	// after one that was killed. It need not outlive the boot.
	Dir string
	// NspawnDir is where systemd-nspawn keeps what it needs at run time; "" for
	// a user.
	NspawnDir string
	// Pool is where the roots are that are thrown away, LockDir has the locks of
	// images, and Program is ours, which units execute to make such roots.
	Pool, LockDir, Program string

	Terminals Terminals
	Emit      func(Event) // queues a signal; must not block
	Log       *slog.Logger
}

// A Launcher starts and ends machines. It is safe for concurrent use. It has to
// be told of every event of the units and machines.
type Launcher struct {
	cfg     Config
	watches watches
	starts  starts
	ended   *ended
	blank   blank

	insistence *insistence
	restored   restored
}

// New returns a launcher.
func New(cfg Config) *Launcher {
	return &Launcher{cfg: cfg, starts: starts{byName: map[string]*start{}, ready: make(chan struct{})}, ended: newEnded(),
		insistence: newInsistence()}
}

// An Event says what became of a machine that was started.
type Event struct {
	Name   string
	Unit   string
	Ready  bool
	Reason string // why not
}

// UnitEvent takes note of what PID 1 says. It does not block.
func (l *Launcher) UnitEvent(e unit.Event) {
	if e.Kind == unit.Reloaded {
		l.blank.forget()
		l.watches.wakeAll()
		return
	}
	l.watches.wake(e.Unit)
	if e.Kind == unit.UnitChanged && e.Change.State == "deactivating" {
		l.insistence.unitStops(e.Unit)
	}
}

// MachineEvent takes note of a machine that comes or goes. It does not block.
func (l *Launcher) MachineEvent(e machine.Event) {
	l.watches.wake(e.Machine.Name)
	l.insistence.machineEvent(e)
	if !e.Added {
		l.ended.add(e.Machine.Name)
	}
}
