// Command machd is the registration manager for containers and VMs: it owns
// org.freedesktop.machine1 in place of systemd-machined.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/auth"
	"github.com/machd/machd/daemon/internal/busapi"
	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/operation"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/task"
	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/daemon/internal/varlinkapi"
	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
)

// version is set by the build.
var version = "unknown"

// The main goroutine keeps the main thread. A goroutine that takes a machine's
// identity onto its thread ends with that thread, but the main thread cannot
// end: /proc/self would show the machine from then on.
func init() { runtime.LockOSThread() }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	err := run(ctx, os.Args[1:])
	if err == nil || errors.Is(err, flag.ErrHelp) || ctx.Err() != nil {
		// What breaks once we were told to end is no failure.
		return
	}
	fmt.Fprintf(os.Stderr, "machd: %v\n", err)
	os.Exit(1)
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("machd", flag.ContinueOnError)
	showVersion := flags.Bool("version", false, "print the version and exit")
	introspect := flags.String("bus-introspect", "", "print the introspection of `PATH`, an object or an interface, or list them (list), and exit")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: machd takes options only", flags.Arg(0))
	}
	if *showVersion {
		fmt.Println("machd", version)
		return nil
	}
	if *introspect != "" {
		text, err := busapi.Introspect(ctx, *introspect)
		fmt.Print(text)
		return err
	}
	return serve(ctx)
}

// serve is the parts list. The bus name is taken only when every object is
// ready to answer, and no call is read before the machines of an earlier
// daemon have been adopted.
func serve(ctx context.Context) error {
	unix.Umask(0o022)
	level := new(slog.LevelVar)
	log := newLogger(level)

	address := bus.SystemAddress()
	// The calls that are being answered when we are told to end need it.
	conn, err := bus.Dial(context.WithoutCancel(ctx), address)
	if err != nil {
		return err
	}
	defer conn.Close()

	units, err := unit.Connect(ctx, conn, log)
	if err != nil {
		return err
	}
	authority := auth.New(conn, log)
	guard := inside.NewGuard(log)

	operations := operation.NewSet()

	var server *vtable.Server
	machines, err := machine.New(machine.Config{
		Dir:   machine1.StateDir,
		Units: units,
		Emit: func(e machine.Event) {
			if !e.Added {
				operations.MachineGone(e.Machine.Name)
			}
			busapi.Announce(server, e)
		},
		Log: log,
	})
	if err != nil {
		return err
	}
	units.Watch(machines.UnitEvent)

	server, err = dialServer(ctx, address, log, busapi.Config{
		Machines:   machines,
		Images:     image.NewStore(image.SystemConfig()),
		Inside:     guard,
		Operations: operations,
		Authority:  authority,
		Access:     access.New(authority, machines),
		LogLevel:   level,
	})
	if err != nil {
		return err
	}
	if err := server.RequestName(ctx, machine1.BusName, 0); err != nil {
		return err
	}
	if err := machines.Restore(ctx); err != nil {
		return err
	}
	serveVarlink, err := varlinkTask(varlinkapi.Config{
		Machines: machines, Authority: authority, Inside: guard, LogLevel: level, Version: version, Log: log,
	})
	if err != nil {
		return err
	}
	ready(log)
	defer daemon.SdNotify(false, daemon.SdNotifyStopping)

	return task.Run(ctx, units.Run, machines.Run, server.Run, serveVarlink)
}

func dialServer(ctx context.Context, address string, log *slog.Logger, cfg busapi.Config) (*vtable.Server, error) {
	return vtable.Dial(ctx, address, vtable.Config{
		Tree:      busapi.New(cfg),
		Log:       log,
		ErrorName: machine1.ErrorName,
		MachineID: proc.MachineID,
	})
}

func ready(log *slog.Logger) {
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady+"\nSTATUS=Processing requests..."); err != nil {
		log.Warn("cannot notify the service manager", "error", err)
	}
}

// varlinkTask returns what answers on the Varlink socket, which it has opened.
func varlinkTask(cfg varlinkapi.Config) (task.Task, error) {
	face, err := varlinkapi.New(cfg)
	if err != nil {
		return nil, err
	}
	listener, err := varlinkListener()
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return face.Serve(ctx, listener) }, nil
}

// varlinkListener returns the socket that systemd holds for us, or binds it.
func varlinkListener() (*net.UnixListener, error) {
	passed, err := activation.ListenersWithNames()
	if err != nil {
		return nil, fmt.Errorf("cannot take over sockets: %w", err)
	}
	for _, l := range passed["varlink"] {
		if socket, ok := l.(*net.UnixListener); ok {
			return socket, nil
		}
	}
	return varlinkapi.Listen()
}
