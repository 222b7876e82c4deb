package inside

import (
	"context"
	"fmt"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machine1"
)

// A shellUnit is the unit that a shell becomes in the machine called machine.
type shellUnit struct {
	Shell
	machine string
	pty     *PTY
	tty     dbus.UnixFD // the other end of pty
}

func (u shellUnit) name() string { return fmt.Sprintf("container-shell@%d.service", u.pty.N) }

func (u shellUnit) path() dbus.ObjectPath {
	return dbus.ObjectPath("/org/freedesktop/systemd1/unit/" + machine1.EscapeLabel(u.name()))
}

// start has the unit started, and more said about it than systemd-machined
// does.
func (u shellUnit) start(ctx context.Context, m serviceManager, more ...machine1.Property) error {
	return m.call(ctx, "StartTransientUnit", u.name(), "fail", append(u.properties(), more...), []auxiliaryUnit{})
}

// An auxiliaryUnit is an element of the last argument of StartTransientUnit,
// which is always empty here.
type auxiliaryUnit struct {
	Name       string
	Properties []machine1.Property
}

// An execCommand is an element of ExecStart, signature (sasb).
type execCommand struct {
	Path          string
	Args          []string
	IgnoreFailure bool
}

func property(name string, value any) machine1.Property {
	return machine1.Property{Name: name, Value: dbus.MakeVariant(value)}
}

// properties returns what the unit is made of. The service manager replaces
// "$$" and "${NAME}" in the arguments, as it does for systemd-machined.
func (u shellUnit) properties() []machine1.Property {
	list := []machine1.Property{
		property("Description", "Shell for User "+u.User),
		property("StandardInputFileDescriptor", u.tty),
		property("StandardOutputFileDescriptor", u.tty),
		property("StandardErrorFileDescriptor", u.tty),
		property("SendSIGHUP", true),
		property("IgnoreSIGPIPE", false),
		property("KillMode", "mixed"),
		property("TTYPath", u.pty.Path),
		property("TTYReset", true),
		property("UtmpIdentifier", fmt.Sprintf("pts/%d", u.pty.N)),
		property("UtmpMode", "user"),
		property("PAMName", "login"),
		property("WorkingDirectory", "-~"),
		property("User", u.User),
	}
	if len(u.Environment) > 0 {
		list = append(list, property("Environment", u.Environment))
	}
	return append(list, property("ExecStart", []execCommand{{u.Path, u.Args, true}}))
}
