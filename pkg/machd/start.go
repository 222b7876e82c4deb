package machd

import (
	"time"

	"github.com/godbus/dbus/v5"
)

// A Wait says what a start waits for.
type Wait string

// What a start can wait for.
const (
	// WaitReady is until the machine can be used: its service manager is up,
	// or it has none and runs. It is the default.
	WaitReady Wait = "ready"
	// WaitRegistered is until the machine is listed.
	WaitRegistered Wait = "registered"
	// WaitNo is until PID 1 has taken the job.
	WaitNo Wait = "no"
)

func (w *Wait) valid() bool {
	return *w == WaitReady || *w == WaitRegistered || *w == WaitNo
}

// What has become of a machine that is started or waited for.
const (
	StateQueued     = "queued"     // PID 1 has the job
	StateRegistered = "registered" // it is listed
	StateReady      = "ready"      // it can be used
	StateDegraded   = "degraded"   // it can be used, and part of it failed
)

// A Restart says when a machine that ends is started again.
type Restart string

// When a machine is started again. Its own wish for a reboot is always heeded.
const (
	RestartNo        Restart = "no"
	RestartOnFailure Restart = "on-failure"
	RestartAlways    Restart = "always"
)

func (r *Restart) valid() bool {
	return *r == RestartNo || *r == RestartOnFailure || *r == RestartAlways
}

// Limits bound what a machine can take of the host. Each is as in a unit file;
// "" leaves it as it is, "infinity" takes it away.
type Limits struct {
	Memory   string // memory: bytes with a suffix K, M, G, T, or a percentage of the host's
	CPUs     string // cpus: how many processors' time, such as 0.5
	Tasks    string // tasks: processes and threads, or a percentage of what the host allows
	IOWeight string // io_weight: 1 to 10000, 100 being everybody's
}

func (l *Limits) add(t table) table {
	t["memory"], t["cpus"], t["tasks"], t["io_weight"] = &l.Memory, &l.CPUs, &l.Tasks, &l.IOWeight
	return t
}

// LimitOptions are what setting limits can be told.
type LimitOptions struct {
	Limits
	Save bool // save: for later starts, too
}

// StartOptions are what a start can be told. None of them leaves a file unless
// Save is set.
type StartOptions struct {
	// What is run. Without any, the image that has the machine's name.
	Image     string // image: another image by its name
	Directory string // directory: a directory tree by its path
	Disk      string // disk: a disk image or block device by its path
	From      string // from: an image that is cloned first, to one of the machine's name
	VM        bool   // vm: by systemd-vmspawn

	Ephemeral bool // ephemeral: on a snapshot that is thrown away
	Overlay   bool // overlay: the same where there are no snapshots, on an overlay that is thrown away

	Boot    string   // boot: yes for its init, no for the command alone; if left out, there being a command says so
	Command []string // command: what is run, or init's arguments

	Bind         []string // bind: SOURCE[:DESTINATION[:OPTIONS]]
	BindReadOnly []string // bind_ro: the same, and nothing can be written there
	Environment  []string // environment: NAME=VALUE
	Hostname     string   // hostname: its own name for itself
	PrivateUsers string   // private_users: yes, no, pick, identity or a first ID, as in .nspawn files
	Capabilities []string // capability: CAP_… that it has beside the usual ones
	Arguments    []string // nspawn_arguments: options of systemd-nspawn, or systemd-vmspawn, for all the rest

	NetworkOptions
	Limits
	Properties  []string      // property: of the unit, NAME=VALUE as in unit files
	Slice       string        // slice: that the unit is in
	Restart     Restart       // restart: no, on-failure or always
	StopSignal  string        // stop_signal: that its init takes for a shutdown, SIGRTMIN+3
	StopTimeout time.Duration // stop_timeout: how long its unit may take to stop
	Protect     bool          // protect: refuse to stop, restart, terminate or kill it without force

	Wait        Wait          // wait: ready, registered or no
	WaitTimeout time.Duration // wait_timeout: the daemon's own choice if it is zero
	Save        bool          // save: write the options to the machine's settings
}

func (o *StartOptions) table() table {
	return o.NetworkOptions.add(o.Limits.add(table{
		"image": &o.Image, "directory": &o.Directory, "disk": &o.Disk, "from": &o.From, "vm": &o.VM,
		"ephemeral": &o.Ephemeral, "overlay": &o.Overlay,
		"boot": &o.Boot, "command": &o.Command,
		"bind": &o.Bind, "bind_ro": &o.BindReadOnly, "environment": &o.Environment, "hostname": &o.Hostname,
		"private_users": &o.PrivateUsers, "capability": &o.Capabilities, "nspawn_arguments": &o.Arguments,
		"property": &o.Properties, "slice": &o.Slice, "restart": &o.Restart,
		"stop_signal": &o.StopSignal, "stop_timeout": &o.StopTimeout, "protect": &o.Protect,
		"wait": &o.Wait, "wait_timeout": &o.WaitTimeout, "save": &o.Save,
	}))
}

func (o *LimitOptions) table() table { return o.Limits.add(table{"save": &o.Save}) }

// Variants returns o as it goes over the bus.
func (o StartOptions) Variants() map[string]dbus.Variant { return o.table().variants() }

// Variants returns o as it goes over the bus.
func (o LimitOptions) Variants() map[string]dbus.Variant { return o.table().variants() }

// ParseStartOptions reads options that came over the bus, as ParseBindOptions
// does. Wait is never zero. Whether the options agree with one another and the
// host is for the daemon to say.
func ParseStartOptions(options map[string]dbus.Variant) (o StartOptions, err error) {
	o.Wait = WaitReady
	err = o.table().parse(options)
	return o, err
}

// ParseLimitOptions reads options that came over the bus, as ParseBindOptions
// does.
func ParseLimitOptions(options map[string]dbus.Variant) (o LimitOptions, err error) {
	err = o.table().parse(options)
	return o, err
}

// A Change is one thing that a start would do, or what there is would have to
// change for it.
type Change struct {
	Kind string // property, argument, file, mount, image, link, address, port, rule
	Name string // of the property or link, or the path
	From string // "" if there is none
	To   string // "" if it goes away
}
