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
	"runtime/debug"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/busapi"
	"github.com/machd/machd/daemon/internal/execution"
	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/daemon/internal/launch"
	"github.com/machd/machd/daemon/internal/task"
	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/daemon/internal/varlinkapi"
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

// options are what users can say; man/machd.8 has them, too.
type options struct {
	version, user, system, release bool
	introspect                     string
}

func (o *options) flags() *flag.FlagSet {
	flags := flag.NewFlagSet("machd", flag.ContinueOnError)
	flags.BoolVar(&o.version, "version", false, "print the version and exit")
	flags.StringVar(&o.introspect, "bus-introspect", "", "print the introspection of `path`, an object or an interface, or with \"list\" which there are, and exit")
	flags.BoolVar(&o.release, "release-network", false, "take off the host what a disabled machd has left of machines' networks and exit")
	flags.BoolVar(&o.user, "user", false, "know the machines of the user's own service manager")
	flags.BoolVar(&o.system, "system", true, "know the machines of the system, the default")
	return flags
}

func run(ctx context.Context, args []string) error {
	if len(args) == 1 && args[0] == inside.ErrandArgument {
		return inside.RunErrand(ctx, newLogger(slog.LevelInfo))
	}
	if helped, err := help(ctx, args); helped {
		return err
	}
	var o options
	flags := o.flags()
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: machd takes options only", flags.Arg(0))
	}
	if o.version {
		fmt.Println("machd", version)
		return nil
	}
	if o.introspect != "" {
		text, err := busapi.Introspect(ctx, o.introspect)
		fmt.Print(text)
		return err
	}
	if o.release {
		return releaseNetwork(ctx)
	}
	self := systemInstance()
	if o.user {
		var err error
		if self, err = userInstance(); err != nil {
			return err
		}
	}
	return serve(ctx, self)
}

// serve runs the parts that assemble lists. The bus name is taken only when
// every object is ready to answer, and no call is read before the machines of
// an earlier daemon have been adopted.
func serve(ctx context.Context, self instance) error {
	unix.Umask(0o022)
	// What lives takes 2 MB with a thousand machines, and the garbage until the
	// next collection twice that: half as much is hardly more work.
	debug.SetGCPercent(50)
	level := new(slog.LevelVar)
	log := newLogger(level)

	// The calls that are being answered when we are told to end need it.
	conn, err := bus.Dial(context.WithoutCancel(ctx), self.bus)
	if err != nil {
		return err
	}
	defer conn.Close()

	units, err := unit.Connect(ctx, conn, log)
	if err != nil {
		return err
	}
	if !self.user {
		self.images.Units = launch.NewUnitFiles(units.Reload)
	}
	images, guard := image.NewStore(self.images), self.guard(log)
	sessions := execution.New(execution.Config{Inside: guard, Enterer: self.enterer, Records: self.execDir, Log: log})
	p := &parts{self: self, conn: conn, units: units, images: images, guard: guard, sessions: sessions, log: log, level: level}
	if err := p.assemble(ctx); err != nil {
		return err
	}
	if err := p.server.RequestName(ctx, machine1.BusName, 0); err != nil {
		return fmt.Errorf("%w; machd(8) tells how it is installed, and how it takes the place of another daemon", err)
	}
	if err := p.machines.Restore(ctx); err != nil {
		return err
	}
	if p.networks != nil {
		p.networks.Restore()
	}
	p.launcher.Restore(ctx)
	sockets, err := varlinkSockets(self.sockets, log)
	if err != nil {
		return err
	}
	ready(log)
	ctx, end := untilKnown(ctx, log)
	defer end()

	tasks := []task.Task{units.Run, p.machines.Run, images.Run, sessions.Run, p.launcher.Run, p.server.Run,
		func(ctx context.Context) error { return p.face.Serve(ctx, sockets) }, self.monitoring(p.machines, log)}
	if p.networks != nil {
		tasks = append(tasks, p.networks.Run)
	}
	if exitsOnIdle(self) && startedByBus(ctx, conn) {
		held := func() (uint64, bool) { return 0, p.machines.View().Len() > 0 }
		tasks = append(tasks, watchIdle(log, p.server.Pulse, p.face.Pulse, held))
	}
	if err := task.Run(ctx, tasks...); !errors.Is(err, errIdle) {
		return err
	}
	return nil
}

// varlinkSockets opens what the Varlink face is reached at, and takes over what
// systemd holds for us.
func varlinkSockets(paths varlinkapi.Paths, log *slog.Logger) (varlinkapi.Sockets, error) {
	var mine []*net.UnixListener
	passed, err := activation.ListenersWithNames()
	if err != nil {
		return varlinkapi.Sockets{}, fmt.Errorf("cannot take over sockets: %w", err)
	}
	for _, l := range passed["varlink"] {
		if socket, ok := l.(*net.UnixListener); ok {
			mine = append(mine, socket)
		}
	}
	return varlinkapi.Listen(paths, mine, os.Getenv("SYSTEMD_VARLINK_LISTEN"), log)
}
