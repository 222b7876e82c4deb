// Package vtable serves objects on a bus from literal tables: it looks the
// object up, checks the call against its row, decodes, runs the row's
// function, and replies. Introspection and properties come from the same
// tables. It must not know what the objects are, nor who may do what to them.
package vtable

import (
	"context"
	"sync/atomic"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/wire"
)

// An Interface is a D-Bus interface as one literal table. Its rows keep their
// order in introspection and in GetAll. It must not be changed once it is
// served.
type Interface struct {
	Name       string
	Methods    []Method
	Properties []Property
	Signals    []Signal

	face atomic.Pointer[face] // what Check made of the rows
}

// A Method is one row for a method. T is the type of the Binding's Target;
// the D-Bus signatures come from Func's other types.
type Method struct {
	Name string
	// In and Out name the arguments and the results, separated by spaces.
	// "-" stands for one that has no name.
	In, Out string
	// Doc says in a sentence or more what it does, for who writes that down.
	Doc string
	// Access is the polkit action, or "". It is data for who prints the
	// permission matrix; nothing here acts on it.
	Access string
	// Slow says that the call may have to wait: for a password, for PID 1, for
	// a machine. It then runs in a goroutine of its own, and later calls of the
	// same sender may overtake it. All others wait for nothing, not even for a
	// disk: they may be answered by the one who reads for all.
	Slow bool
	// Func is a func(ctx context.Context, c *Call, target T, in…) (out…, error),
	// or what Handler makes of one.
	Func any
}

// An Encoded is a result of type T that was encoded before it was asked for. It
// can only be a method's first result.
type Encoded[T any] = wire.Encoded[T]

// Encode encodes v, which must not have descriptors.
func Encode[T any](v T) (Encoded[T], error) { return wire.Encode(v) }

// A Property is one row for a property of type V.
type Property struct {
	Name  string
	Emits Emits
	// Hidden properties answer Get, but show neither in GetAll nor in
	// introspection.
	Hidden bool
	// Slow says that Get or Set may have to wait, if only for a disk. Every
	// call about the properties of such an interface then is a slow one.
	Slow bool
	// Privileged says in introspection that only root may Set. It is for who
	// reads that; the bus policy makes it so.
	Privileged bool
	// Get is a func(ctx context.Context, target T) (V, error), or what Getter
	// makes of one.
	Get any
	// Set is a func(ctx context.Context, target T, value V) error, or nil:
	// read-only.
	Set any
}

// Emits says whether a property's changes are told by PropertiesChanged.
type Emits int

// The values of the annotation EmitsChangedSignal; true is the default.
const (
	EmitsTrue Emits = iota
	EmitsConst
	EmitsFalse
)

// A Signal is one row for a signal.
type Signal struct {
	Name  string
	Args  string // names, separated by spaces
	Types string // signature
	Doc   string // when it is sent, for who writes that down
}

// A Binding says that an object has an interface. Its functions get Target.
type Binding struct {
	Interface *Interface
	Target    any
}

// A Tree finds objects. Its methods are called from many goroutines.
type Tree interface {
	// Find returns the interfaces of the object at path; none and true for a
	// node that is only a parent of others.
	Find(ctx context.Context, c *Call, path dbus.ObjectPath) ([]Binding, bool)
	// Children names the nodes directly below path, sorted.
	Children(ctx context.Context, c *Call, path dbus.ObjectPath) []string
	// Waits reports whether the two may have to wait at path, if only for a
	// disk.
	Waits(path dbus.ObjectPath) bool
}
