package imagemaker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/pkg/socket"
)

// Units is PID 1; *unit.Manager is it.
type Units interface {
	StartTransient(ctx context.Context, name, mode string, props []machine1.Property) (dbus.ObjectPath, error)
	Stop(ctx context.Context, name, mode string) (dbus.ObjectPath, error)
	WaitJob(ctx context.Context, job dbus.ObjectPath) (result string, err error)
	ActiveState(ctx context.Context, name string) (string, error)
}

// Images tells which images there are; *image.Store does.
type Images interface {
	Get(ctx context.Context, name string) (image.Image, error)
	SweepSoon(name string)
}

// Config is what a Maker stands on.
type Config struct {
	Units   Units
	Images  Images
	Program string // our own, by a path that stays the same
	User    bool   // this is the daemon of a user, who can make none
}

// A Maker has images made. It may be used from several goroutines.
type Maker struct{ cfg Config }

// New returns a Maker.
func New(cfg Config) *Maker { return &Maker{cfg} }

const (
	keptLines = 5                // of a log are in the error
	endLimit  = 30 * time.Second // that a unit may take to end
	lookAgain = 50 * time.Millisecond
)

// Check refuses what cannot be made, before anybody is asked for a password.
func (m *Maker) Check(ctx context.Context, w Wish, given bool) error {
	switch {
	case m.cfg.User:
		return machine1.Errorf(machine1.ErrNotSupported, "Only the system's daemon makes images")
	case !machine1.ValidMachineName(w.Name):
		return machine1.Errorf(machine1.ErrInvalidArgs, "'%s' cannot be the name of a machine, and so of no image for one", w.Name)
	case (w.Source.Kind == machd.SourceFile) != given:
		return machine1.Errorf(machine1.ErrInvalidArgs, "A descriptor goes with the source '%s', and with no other one", machd.SourceGiven)
	}
	if err := w.check(); err != nil {
		return err
	}
	if w.Source.Kind == machd.SourceMachine {
		if _, err := m.cfg.Images.Get(ctx, w.Source.Name); err != nil {
			return err
		}
	}
	_, err := m.cfg.Images.Get(ctx, w.Name)
	switch {
	case errors.Is(err, machine1.ErrNoSuchImage):
		return nil
	case err == nil:
		return machine1.Errorf(unix.EEXIST, "there is an image %q already", w.Name)
	}
	return err
}

// Make makes an image, and calls line with each line that the programs print
// which do it. given is what the source is made of, if that is a file; it stays
// the caller's. When ctx ends, so does everything.
func (m *Maker) Make(ctx context.Context, w Wish, given *os.File, line func(string)) (Made, error) {
	if err := m.Check(ctx, w, given != nil); err != nil {
		return Made{}, err
	}
	order, err := w.encode()
	if err != nil {
		return Made{}, err
	}
	ours, theirs, err := socket.Pair(unix.SOCK_STREAM)
	if err != nil {
		return Made{}, err
	}
	defer ours.Close()
	stop := context.AfterFunc(ctx, func() { ours.Close() })
	defer stop()
	var rights []byte
	if given != nil {
		rights = unix.UnixRights(int(given.Fd()))
	}
	// The rest may be more than a socket holds that nobody reads from yet.
	if _, _, err = ours.WriteMsgUnix(order[:1], rights, nil); err == nil {
		err = m.start(ctx, w, theirs)
	}
	theirs.Close()
	if err != nil {
		return Made{}, err
	}
	_, _ = ours.Write(order[1:]) // a builder that does not read it has ended
	made, err := follow(ours, line)
	ours.Close()
	m.end(context.WithoutCancel(ctx), w.Name, err != nil)
	if ctx.Err() != nil {
		return Made{}, fmt.Errorf("image %q is not made: %w: %w", w.Name, unix.ECANCELED, ctx.Err())
	}
	return made, err
}

// start has PID 1 start the unit, whose standard input is the socket.
func (m *Maker) start(ctx context.Context, w Wish, socket *os.File) error {
	name := unitName(w.Name)
	job, err := m.cfg.Units.StartTransient(ctx, name, "fail", m.properties(w, socket))
	if errors.Is(err, machine1.ErrUnitExists) {
		return machine1.Errorf(unix.EBUSY, "image %q is being made already: %s does it", w.Name, name)
	}
	if err != nil {
		return fmt.Errorf("PID 1 does not start %s: %w", name, err)
	}
	result, err := m.cfg.Units.WaitJob(ctx, job)
	if err == nil && result != "done" {
		err = machine1.Errorf(machine1.ErrJobFailed, "%s could not be started: its job ended with '%s'", name, result)
	}
	return err
}

// properties are those of the unit. Its mount namespace is its own, so that
// nothing stays mounted below an image.
func (m *Maker) properties(w Wish, socket *os.File) []machine1.Property {
	type command struct {
		Path          string
		Argv          []string
		IgnoreFailure bool
	}
	run := func(ignore bool, argv ...string) []command {
		return []command{{m.cfg.Program, append([]string{m.cfg.Program}, argv...), ignore}}
	}
	return []machine1.Property{
		property("Description", fmt.Sprintf("Making of image %s from %s", w.Name, w.Source)),
		property("CollectMode", "inactive-or-failed"),
		property("StandardInputFileDescriptor", dbus.UnixFD(socket.Fd())),
		property("StandardOutput", "journal"),
		property("StandardError", "journal"),
		property("PrivateMounts", true),
		property("UMask", uint32(0o022)),
		property("TimeoutStopUSec", uint64(10*time.Second/time.Microsecond)),
		property("SendSIGHUP", true), // shells of package managers' scripts
		property("ExecStart", run(false, BuildArgument)),
		property("ExecStopPost", run(true, RemoveArgument, w.Name)),
	}
}

func property(name string, value any) machine1.Property {
	return machine1.Property{Name: name, Value: dbus.MakeVariant(value)}
}

// follow reads what a builder reports. An error that it tells comes with the last
// lines of the log.
func follow(conn *net.UnixConn, line func(string)) (Made, error) {
	var last []string
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, maxOrder)
	for lines.Scan() {
		var r report
		switch err := json.Unmarshal(lines.Bytes(), &r); {
		case err != nil:
			return Made{}, fmt.Errorf("cannot understand the builder: %w", err)
		case r.Made != nil:
			return *r.Made, nil
		case r.Failure != nil:
			r.Failure.Text = strings.Join(append([]string{r.Failure.Text}, last...), "\n")
			return Made{}, r.Failure.err()
		}
		line(r.Line)
		last = append(last, r.Line)
		last = slices.Delete(last, 0, max(0, len(last)-keptLines))
	}
	text := strings.Join(append([]string{"it was ended before it was done"}, last...), "\n")
	return Made{}, machine1.Errorf(machine1.ErrJobFailed, "%s", text)
}

// end waits until the unit that makes an image has removed what it had made, and
// has it stop if nobody wants that any more.
func (m *Maker) end(ctx context.Context, name string, stop bool) {
	ctx, cancel := context.WithTimeout(ctx, endLimit)
	defer cancel()
	if stop {
		_, _ = m.cfg.Units.Stop(ctx, unitName(name), "replace")
	}
	// Whoever kills all that is in the unit has killed what cleans up as well.
	defer m.cfg.Images.SweepSoon(name)
	for ctx.Err() == nil {
		state, err := m.cfg.Units.ActiveState(ctx, unitName(name))
		if err != nil || state == "inactive" || state == "failed" {
			return
		}
		time.Sleep(lookAgain)
	}
}
