package busapi

import (
	"context"
	"os"
	"strings"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/execution"
	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// execRows run commands in machines.
var execRows = []vtable.Method{
	{
		Name: "Exec",
		Doc:  "Runs a command in a machine: a program and its arguments. stdio has three descriptors, or none where the command has a terminal or nothing to read and write. The session holds the command: see Sessions. terminal has the terminal's master if one was asked for; unit is the command's in the machine, or empty. A daemon that is about to end answers `org.machd.Error.Ending`, and has run nothing: the one that comes next can be asked.",
		In:   "machine arguments stdio options", Out: "session terminal unit",
		Access: machd.ActionExec, Slow: true, Func: ofMachine(ownExec),
	},
}

// execMachineRows is the same on a machine's object.
var execMachineRows = []vtable.Method{
	{
		Name: "Exec",
		Doc:  "As the Manager's.",
		In:   "arguments stdio options", Out: "session terminal unit",
		Access: machd.ActionExec, Slow: true, Func: ownExec,
	},
}

// Sessions runs commands; *execution.Set does.
type Sessions interface {
	Start(ctx context.Context, r execution.Request) (execution.Started, error)
}

func ownExec(ctx context.Context, c *vtable.Call, o machineObject, arguments []string, stdio []machd.Descriptor, opts options) (
	socket dbus.UnixFD, terminal []machd.Descriptor, unit string, err error) {
	parsed, err := machd.ParseExecOptions(opts)
	if err != nil {
		return -1, nil, "", err
	}
	command, err := inside.Command{
		Args: arguments, User: parsed.User, Directory: parsed.Directory, Environment: parsed.Environment, Login: parsed.Login,
	}.Normalize()
	if err != nil {
		return -1, nil, "", err
	}
	caller, err := o.api.callers.BusCaller(ctx, c.Sender)
	if err != nil {
		return -1, nil, "", err
	}
	defer caller.Close()
	m, err := o.askFor(ctx, c, caller, access.Exec(parsed), map[string]string{
		"user": command.User, "program": command.Args[0], "command_line": strings.Join(command.Args, " "),
	})
	if err != nil {
		return -1, nil, "", err
	}
	if err := access.MayOpen(m); err != nil {
		return -1, nil, "", err
	}
	streams, err := takeStreams(c, stdio)
	if err != nil {
		return -1, nil, "", err
	}
	defer closeFiles(streams)
	started, err := o.api.sessions.Start(ctx, execution.Request{
		Caller: caller.UID, Machine: m, Command: command, Stdio: streams, Terminal: parsed.Terminal,
		Rows: parsed.Rows, Columns: parsed.Columns,
	})
	if err != nil {
		return -1, nil, "", err
	}
	return handOutSession(started)
}

// takeStreams makes files of the descriptors of a call. One may stand for
// several streams.
func takeStreams(c *vtable.Call, fds []machd.Descriptor) (streams []*os.File, err error) {
	taken := map[dbus.UnixFD]int{}
	for _, d := range fds {
		fd := d.FD
		own, again := taken[fd]
		if again {
			own, err = unix.FcntlInt(uintptr(own), unix.F_DUPFD_CLOEXEC, 3)
		} else if own = c.TakeFD(fd); own < 0 {
			err = machine1.Errorf(machine1.ErrInvalidArgs, "A stream did not come with the call")
		}
		if err != nil {
			closeFiles(streams)
			return nil, err
		}
		taken[fd] = own
		streams = append(streams, os.NewFile(uintptr(own), "stream"))
	}
	return streams, nil
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// handOutSession gives the files to the reply.
func handOutSession(s execution.Started) (socket dbus.UnixFD, terminal []machd.Descriptor, unit string, err error) {
	defer s.Close()
	terminal = []machd.Descriptor{}
	if s.Terminal != nil {
		fd, err := dupFD(s.Terminal)
		if err != nil {
			return -1, nil, "", err
		}
		terminal = append(terminal, machd.Descriptor{FD: fd})
	}
	socket, err = dupFD(s.Socket)
	return socket, terminal, s.Unit, err
}
