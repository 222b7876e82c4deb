package machd

import (
	"time"

	"github.com/godbus/dbus/v5"
)

// An Ownership says whom copied files belong to.
type Ownership string

// The ownerships. A machine with a user namespace has IDs of its own.
const (
	// OwnershipMap translates each owner between the machine's IDs and the
	// host's. It is the default.
	OwnershipMap Ownership = "map"
	// OwnershipFlat gives everything to root of the side that is copied to if
	// the machine has a user namespace, as the stock interface does.
	OwnershipFlat Ownership = "flat"
)

func (o *Ownership) valid() bool { return *o == OwnershipMap || *o == OwnershipFlat }

// ParseOwnership returns the ownership of that name.
func ParseOwnership(name string) (o Ownership, ok bool) {
	o = Ownership(name)
	return o, o.valid()
}

// BindOptions are what a bind mount can be told.
type BindOptions struct {
	ReadOnly bool // read_only: nothing can be written through it
	MakeDir  bool // mkdir: make what is missing of the destination
}

// CopyOptions are what a copy can be told. The zero Ownership is OwnershipMap.
type CopyOptions struct {
	Replace   bool        // replace: overwrite what is there
	Ownership Ownership   // ownership: map or flat
	Progress  dbus.UnixFD // progress: a pipe to write to how far it is, see Progress
}

// RemoveOptions are what the removal of an image can be told.
type RemoveOptions struct {
	Settings bool        // settings: remove the settings files below /etc too, and what starts it with the host
	Progress dbus.UnixFD // progress: a pipe to write to how far it is, see Progress
}

// CloneOptions are what the copy of an image can be told.
type CloneOptions struct {
	ReadOnly bool        // read_only: make the copy read-only
	Progress dbus.UnixFD // progress: a pipe to write to how far it is, see Progress
}

// CleanOptions are what the removal of many images can be told.
type CleanOptions struct {
	Progress dbus.UnixFD // progress: a pipe to write to how far it is, see Progress
}

// StopOptions are what the end of a machine can be told.
type StopOptions struct {
	// Zero is the daemon's own choice.
	Timeout time.Duration // timeout: how long each step has before the next one
	Force   bool          // force: end a machine that was started protected, too
}

// TerminateOptions are what the end of a machine without its init can be told.
type TerminateOptions struct {
	// Zero is the daemon's own choice.
	Timeout time.Duration // timeout: how long what runs it has to clean up before that is killed
}

// WaitOptions are what waiting for a machine can be told.
type WaitOptions struct {
	Timeout time.Duration // timeout: the daemon's own choice if it is zero
}

func (o *BindOptions) table() table {
	return table{"read_only": &o.ReadOnly, "mkdir": &o.MakeDir}
}

func (o *CopyOptions) table() table {
	return table{"replace": &o.Replace, "ownership": &o.Ownership, "progress": &o.Progress}
}

func (o *RemoveOptions) table() table {
	return table{"settings": &o.Settings, "progress": &o.Progress}
}

func (o *CloneOptions) table() table {
	return table{"read_only": &o.ReadOnly, "progress": &o.Progress}
}

func (o *CleanOptions) table() table { return table{"progress": &o.Progress} }
func (o *StopOptions) table() table  { return table{"timeout": &o.Timeout, "force": &o.Force} }
func (o *WaitOptions) table() table  { return table{"timeout": &o.Timeout} }

func (o *TerminateOptions) table() table { return table{"timeout": &o.Timeout} }

// Variants returns o as it goes over the bus.
func (o BindOptions) Variants() map[string]dbus.Variant { return o.table().variants() }

// Variants returns o as it goes over the bus.
func (o CopyOptions) Variants() map[string]dbus.Variant { return o.table().variants() }

// Variants returns o as it goes over the bus.
func (o RemoveOptions) Variants() map[string]dbus.Variant { return o.table().variants() }

// Variants returns o as it goes over the bus.
func (o CloneOptions) Variants() map[string]dbus.Variant { return o.table().variants() }

// Variants returns o as it goes over the bus.
func (o CleanOptions) Variants() map[string]dbus.Variant { return o.table().variants() }

// Variants returns o as it goes over the bus.
func (o StopOptions) Variants() map[string]dbus.Variant { return o.table().variants() }

// Variants returns o as it goes over the bus.
func (o TerminateOptions) Variants() map[string]dbus.Variant { return o.table().variants() }

// Variants returns o as it goes over the bus.
func (o WaitOptions) Variants() map[string]dbus.Variant { return o.table().variants() }

// ParseBindOptions reads options that came over the bus. The error, for a name
// it does not know or a value that makes no sense, is machine1.ErrInvalidArgs.
func ParseBindOptions(options map[string]dbus.Variant) (o BindOptions, err error) {
	err = o.table().parse(options)
	return o, err
}

// ParseCopyOptions reads options that came over the bus, as ParseBindOptions
// does. The Ownership is never zero.
func ParseCopyOptions(options map[string]dbus.Variant) (o CopyOptions, err error) {
	o.Ownership = OwnershipMap
	err = o.table().parse(options)
	return o, err
}

// ParseRemoveOptions reads options that came over the bus, as ParseBindOptions
// does.
func ParseRemoveOptions(options map[string]dbus.Variant) (o RemoveOptions, err error) {
	err = o.table().parse(options)
	return o, err
}

// ParseCloneOptions reads options that came over the bus, as ParseBindOptions
// does.
func ParseCloneOptions(options map[string]dbus.Variant) (o CloneOptions, err error) {
	err = o.table().parse(options)
	return o, err
}

// ParseCleanOptions reads options that came over the bus, as ParseBindOptions
// does.
func ParseCleanOptions(options map[string]dbus.Variant) (o CleanOptions, err error) {
	err = o.table().parse(options)
	return o, err
}

// ParseStopOptions reads options that came over the bus, as ParseBindOptions
// does.
func ParseStopOptions(options map[string]dbus.Variant) (o StopOptions, err error) {
	err = o.table().parse(options)
	return o, err
}

// ParseTerminateOptions reads options that came over the bus, as
// ParseBindOptions does.
func ParseTerminateOptions(options map[string]dbus.Variant) (o TerminateOptions, err error) {
	err = o.table().parse(options)
	return o, err
}

// ParseWaitOptions reads options that came over the bus, as ParseBindOptions
// does.
func ParseWaitOptions(options map[string]dbus.Variant) (o WaitOptions, err error) {
	err = o.table().parse(options)
	return o, err
}

// ParseNoOptions is for calls that have room for options but know none.
func ParseNoOptions(options map[string]dbus.Variant) error { return table{}.parse(options) }
