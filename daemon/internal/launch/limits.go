package launch

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// limitUnits is what limiting asks of PID 1.
type limitUnits interface {
	// SetProperties changes all of them, or none.
	SetProperties(ctx context.Context, name string, props []machine1.Property) error
	Reload(ctx context.Context) error
}

// SetLimits changes what a machine that runs can take of the host: all that o
// says, or nothing. It holds as long as the machine's unit does, and for later
// starts if that is asked for.
func (l *Launcher) SetLimits(ctx context.Context, m machine.Machine, o machd.LimitOptions) error {
	p, err := limitProperties(o.Limits)
	if err != nil {
		return err
	}
	switch {
	case m.Class == machine1.ClassHost:
		return machine1.Errorf(machine1.ErrNotSupported, "The host cannot be limited as a machine")
	case len(p) == 0:
		return machine1.Errorf(machine1.ErrInvalidArgs, "No limit given; there are memory, cpus, tasks and io_weight")
	}
	unit, err := l.carrier(ctx, m)
	switch {
	case err != nil:
		return err
	case unit == "":
		return machine1.Errorf(machine1.ErrNotSupported, "Machine '%s' has no unit of its own that could be limited", m.Name)
	}
	var files []File
	if o.Save {
		if !slices.Contains(carriers(m.Name), m.Unit) {
			return machine1.Errorf(machine1.ErrNotSupported,
				"Limits of '%s' cannot be saved: not machd starts it, but whoever made %s", m.Name, unit)
		}
		if files, err = savedFiles(m.Name, machd.StartOptions{Limits: o.Limits}, nil, nil, readIfThere); err != nil {
			return err
		}
	}
	if err := l.cfg.Units.SetProperties(ctx, unit, p.inOrder()); err != nil {
		return err
	}
	return l.save(ctx, m.Name, files)
}

// carrier returns the unit that is there for the machine alone, "" if none is.
func (l *Launcher) carrier(ctx context.Context, m machine.Machine) (string, error) {
	e := &ending{l: l, m: m}
	err := e.findCarrier(ctx)
	return e.carrier, err
}

// save writes files and has PID 1 read them.
func (l *Launcher) save(ctx context.Context, name string, files []File) error {
	if len(files) == 0 {
		return nil
	}
	for _, f := range files {
		if err := f.write(); err != nil {
			return fmt.Errorf("the limits of '%s' hold now, but not for later starts: %w", name, err)
		}
	}
	return l.cfg.Units.Reload(ctx)
}

// A limit is one of machd.Limits.
type limit struct {
	option string
	value  func(machd.Limits) string
	read   func(text string) (property string, value any, err error)
}

var limits = []limit{
	{"memory", func(l machd.Limits) string { return l.Memory }, readMemory},
	{"cpus", func(l machd.Limits) string { return l.CPUs }, readCPUs},
	{"tasks", func(l machd.Limits) string { return l.Tasks }, readTasks},
	{"io_weight", func(l machd.Limits) string { return l.IOWeight }, readIOWeight},
}

// limitProperties returns the limits as properties of a unit.
func limitProperties(l machd.Limits) (properties, error) {
	p := properties{}
	for _, limit := range limits {
		text := limit.value(l)
		if text == "" {
			continue
		}
		property, value, err := limit.read(text)
		if err != nil {
			return nil, machine1.Errorf(machine1.ErrInvalidArgs, "Invalid value of option '%s': %v", limit.option, err)
		}
		p.set(property, value)
	}
	return p, nil
}

func readMemory(text string) (string, any, error) {
	return readShare("MemoryMax", text, parseSize)
}

func readTasks(text string) (string, any, error) {
	return readShare("TasksMax", text, parseCount)
}

// readShare reads an amount, or a percentage of what the host has, which is
// another property.
func readShare(property, text string, parse func(string) (uint64, error)) (string, any, error) {
	scale, ok, err := parsePercent(text)
	if err != nil {
		return "", nil, err
	}
	if ok {
		if scale == 0 {
			return "", nil, fmt.Errorf("with %s nothing can run", text)
		}
		return property + "Scale", scale, nil
	}
	n, err := parse(text)
	if err != nil {
		return "", nil, err
	}
	if n == 0 {
		return "", nil, fmt.Errorf("with %s nothing can run; infinity takes the limit away", text)
	}
	return property, n, nil
}

func readCPUs(text string) (string, any, error) {
	const property = "CPUQuotaPerSecUSec"
	if text == "infinity" {
		return property, uint64(infinity), nil
	}
	const most = 1e6 // processors
	n, err := parseDecimal(text)
	if err != nil || n > most {
		return "", nil, fmt.Errorf("%q is no number of processors, as 2 or 0.5 are", text)
	}
	usec := uint64(math.Round(n * 1e6))
	if usec < 10_000 {
		return "", nil, fmt.Errorf("%s is less than 0.01, a hundredth of a processor", text)
	}
	return property, usec, nil
}

func readIOWeight(text string) (string, any, error) {
	const property = "IOWeight"
	if text == "infinity" {
		return property, uint64(infinity), nil // everybody's
	}
	n, err := parseCount(text)
	if err != nil || n < 1 || n > 10_000 {
		return "", nil, fmt.Errorf("%q is no number from 1 to 10000", text)
	}
	return property, n, nil
}
