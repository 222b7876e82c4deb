package inside

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machine1"
)

// execGrace is what a command that is ended has between SIGTERM and SIGKILL.
const execGrace = 2 * time.Second

// An execUnit is the unit that a command becomes in the machine called machine.
type execUnit struct {
	Command
	machine string
	unit    string // its name
	program string // absolute path
}

func (u execUnit) path() dbus.ObjectPath {
	return dbus.ObjectPath("/org/freedesktop/systemd1/unit/" + machine1.EscapeLabel(u.unit))
}

// follow returns the calls that have the service manager tell of what happens to
// the unit.
func (u execUnit) follow() []dbus.Message {
	rule := fmt.Sprintf("type='signal',sender='%s',path='%s',interface='%s',member='PropertiesChanged',arg0='%s'",
		manager.Name, u.path(), propertiesInterface, unitInterface)
	return []dbus.Message{
		methodCall(busDaemon, busDaemon.Name, "AddMatch", rule),
		methodCall(manager, managerInterface, "Subscribe"),
	}
}

func (u execUnit) start(ctx context.Context, p *peer) error {
	return p.call(ctx, "StartTransientUnit", u.unit, "fail", u.properties(), []auxiliaryUnit{})
}

// properties returns what the unit is made of. It is the command and what that
// starts, and ends with the command.
func (u execUnit) properties() []machine1.Property {
	list := []machine1.Property{
		property("Description", "Command of machd: "+printable(strings.Join(u.Args, " "))),
		property("Type", "exec"), // or a program that cannot be run would pass for one that was
		property("AddRef", true), // its exit status is there until we hang up
		property("CollectMode", "inactive-or-failed"),
		property("KillMode", "mixed"),
		property("SendSIGHUP", true),
		property("TimeoutStopUSec", uint64(execGrace.Microseconds())),
		property("IgnoreSIGPIPE", false),
		property("User", u.User),
		property("WorkingDirectory", u.workingDirectory()),
		property("ExecStart", []execCommand{{u.program, literally(u.Args), false}}),
	}
	if len(u.Environment) > 0 {
		list = append(list, property("Environment", u.Environment))
	}
	for i, name := range []string{"StandardInput", "StandardOutput", "StandardError"} {
		list = append(list, property(name+"FileDescriptor", dbus.UnixFD(u.stream(i).Fd())))
	}
	if u.Terminal != nil {
		// It is a new one: to reset it would lose what has been typed already.
		list = append(list, property("TTYPath", u.Terminal.Path))
	}
	if u.Login {
		list = append(list, property("PAMName", "login"))
	}
	if u.Login && u.Terminal != nil {
		list = append(list, property("UtmpIdentifier", fmt.Sprintf("pts/%d", u.Terminal.N)), property("UtmpMode", "user"))
	}
	return list
}

func (u execUnit) stream(i int) *os.File { return u.Stdio[i] }

// workingDirectory is the user's home, if he has one, unless something else was
// asked for, which must be there.
func (u execUnit) workingDirectory() string {
	if u.Directory == "" {
		return "-~"
	}
	return u.Directory
}

// literally returns args as the service manager leaves them alone: it replaces
// "$$", "$NAME" and "${NAME}" in arguments.
func literally(args []string) []string {
	list := make([]string, len(args))
	for i, arg := range args {
		list[i] = strings.ReplaceAll(arg, "$", "$$")
	}
	return list
}
