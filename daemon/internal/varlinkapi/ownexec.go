package varlinkapi

import (
	"context"
	"fmt"
	"math"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/execution"
	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/daemon/internal/varlink"
	"github.com/machd/machd/pkg/machd"
)

// Sessions runs commands; *execution.Set does.
type Sessions interface {
	Start(ctx context.Context, r execution.Request) (execution.Started, error)
}

// execMethods run commands in machines.
var execMethods = []varlink.Method[*API]{
	{
		Name: "Exec",
		Doc: "Runs a command in a machine. Its streams come as pipes, or as one terminal. It lives as long as the session's " +
			"socket, of which each packet is a JSON object: {\"signal\": N} sends the command a signal; its outcome, the one packet " +
			"that comes, has exit or signal, or failure (not-found, not-executable, refused, lost) and message",
		In: onMachine(
			varlink.Field{Name: "arguments", Doc: "The program, which is looked for as a shell does, and its arguments; none at all for a login shell", Type: varlink.Array(varlink.String)},
			varlink.Field{Name: "user", Doc: "A name or a number, of the machine; root if left out", Type: varlink.String, Nullable: true},
			varlink.Field{Name: "directory", Doc: "Where to run it; the user's home if left out", Type: varlink.String, Nullable: true, Valid: isPath},
			varlink.Field{Name: "environment", Doc: "As NAME=VALUE", Type: varlink.Array(varlink.String), Nullable: true, Valid: isEnvironment},
			varlink.Field{Name: "terminal", Doc: "On a new terminal of the machine", Type: varlink.Bool, Nullable: true},
			varlink.Field{Name: "rows", Doc: "Of the terminal", Type: varlink.Uint, Nullable: true, Valid: isTerminalSize},
			varlink.Field{Name: "columns", Doc: "Of the terminal", Type: varlink.Uint, Nullable: true, Valid: isTerminalSize},
			varlink.Field{Name: "login", Doc: "In a session of its own, as a login has it", Type: varlink.Bool, Nullable: true}),
		Out: varlink.Fields{
			{Name: "sessionFileDescriptor", Type: varlink.Int},
			{Name: "terminalFileDescriptor", Doc: "The terminal's master", Type: varlink.Int, Nullable: true},
			{Name: "stdinFileDescriptor", Type: varlink.Int, Nullable: true},
			{Name: "stdoutFileDescriptor", Type: varlink.Int, Nullable: true},
			{Name: "stderrFileDescriptor", Type: varlink.Int, Nullable: true},
			{Name: "unit", Doc: "Of the command, in the machine", Type: varlink.String, Nullable: true},
		},
		Access: machd.ActionExec,
		Func:   ownExec,
	},
}

func isTerminalSize(v any) bool { return v.(uint64) <= math.MaxUint16 }

// An execAnswer has the places of descriptors.
type execAnswer struct {
	Session  int    `json:"sessionFileDescriptor"`
	Terminal *int   `json:"terminalFileDescriptor,omitempty"`
	Stdin    *int   `json:"stdinFileDescriptor,omitempty"`
	Stdout   *int   `json:"stdoutFileDescriptor,omitempty"`
	Stderr   *int   `json:"stderrFileDescriptor,omitempty"`
	Unit     string `json:"unit,omitempty"`
}

// ownExec makes the pipes itself: what comes with a call has no descriptors.
func ownExec(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	options := machd.ExecOptions{
		User: c.In.String("user"), Directory: c.In.String("directory"), Environment: inside.LastOfEach(c.In.Strings("environment")),
		Terminal: c.In.Bool("terminal"), Rows: uint16(c.In.Uint("rows")), Columns: uint16(c.In.Uint("columns")), Login: c.In.Bool("login"),
	}
	command, err := inside.Command{
		Args: c.In.Strings("arguments"), User: options.User, Directory: options.Directory,
		Environment: options.Environment, Login: options.Login,
	}.Normalize()
	if err != nil {
		return nil, err
	}
	m, err := a.find(ctx, c)
	if err != nil {
		return nil, err
	}
	m, err = a.authorize(ctx, c, m, access.Exec(options), map[string]string{
		"machine": m.Name, "user": command.User, "program": command.Args[0], "command_line": strings.Join(command.Args, " "),
	})
	if err != nil {
		return nil, err
	}
	if err := access.MayOpen(m); err != nil {
		return nil, err
	}
	caller, err := a.Identify(c.Conn)
	if err != nil {
		return nil, err
	}
	caller.Close()
	request := execution.Request{Caller: caller.UID, Machine: m, Command: command,
		Terminal: options.Terminal, Rows: options.Rows, Columns: options.Columns}
	var ours []*os.File // of the pipes
	defer func() { closeFiles(append(ours, request.Stdio...)) }()
	if !options.Terminal {
		if ours, request.Stdio, err = pipes(); err != nil {
			return nil, err
		}
	}
	started, err := a.Sessions.Start(ctx, request)
	if err != nil {
		return nil, err
	}
	defer started.Close()
	return sendExecution(c, started, ours)
}

func sendExecution(c *varlink.Call, started execution.Started, pipes []*os.File) (answer execAnswer, err error) {
	answer.Unit = started.Unit
	if answer.Session, err = send(c, started.Socket); err != nil {
		return answer, err
	}
	files := map[**int]*os.File{&answer.Terminal: started.Terminal}
	if len(pipes) > 0 {
		files[&answer.Stdin], files[&answer.Stdout], files[&answer.Stderr] = pipes[0], pipes[1], pipes[2]
	}
	for place, f := range files {
		if f == nil {
			continue
		}
		n, err := send(c, f)
		if err != nil {
			return answer, err
		}
		*place = &n
	}
	return answer, nil
}

// pipes returns both ends of a command's three streams.
func pipes() (ours, theirs []*os.File, err error) {
	for i := range 3 {
		var ends [2]int // to read from, to write to
		if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
			closeFiles(append(ours, theirs...))
			return nil, nil, fmt.Errorf("cannot make a pipe: %w", err)
		}
		reader, writer := os.NewFile(uintptr(ends[0]), "pipe"), os.NewFile(uintptr(ends[1]), "pipe")
		if i == 0 {
			ours, theirs = append(ours, writer), append(theirs, reader)
		} else {
			ours, theirs = append(ours, reader), append(theirs, writer)
		}
	}
	return ours, theirs, nil
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
