// Package launch starts machines as units of PID 1, waits until they can be
// used, and ends them. What a start will do is worked out first, as a Plan,
// which changes nothing.
package launch

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/pkg/nspawnfile"
)

// A Plan is what a start will do.
type Plan struct {
	Name string // of the machine
	Unit string // that carries it

	// Existing says that Unit is what an administrator set up, an instance of
	// the stock template. It is started as it is, and Properties is empty.
	Existing   bool
	Properties []machine1.Property // of the transient unit, in order

	Clone *CloneImage // made first, undone if the start fails
	Files []File      // written if the options are saved, undone if the start fails

	Throwaway *Throwaway // where its root is, if that is thrown away

	Network *NetworkPlan // nil if the machine gets none from us

	Boots   bool     // the machine runs an init
	VM      bool     // by systemd-vmspawn
	Notes   []string // what whoever asked should know, a sentence each
	Options machd.StartOptions

	template *template
}

// CloneImage is an image that is made of another one.
type CloneImage struct{ From, To string }

// A File is one that is written.
type File struct {
	Path    string
	Content []byte
	Mode    fs.FileMode
}

// Plan works out what starting a machine with options will do. It refuses what
// could not start whatever the machine's system does; whether the name is free
// is for the start to see.
//
// The machine becomes a unit of its own that has all that the host's template
// says, with the administrator's changes to it, and what the options change. An
// administrator's own unit for this machine is started as it is if there are no
// options.
func (l *Launcher) Plan(ctx context.Context, name string, o machd.StartOptions) (Plan, error) {
	return l.plan(ctx, name, o, nil)
}

// plan plans a start whose machine h is to hold, if it is not nil.
func (l *Launcher) plan(ctx context.Context, name string, o machd.StartOptions, h *holder) (Plan, error) {
	if !machine1.ValidMachineName(name) {
		return Plan{}, machine1.Errorf(machine1.ErrInvalidArgs, "Invalid machine name '%s'", name)
	}
	if err := checkOptions(o); err != nil {
		return Plan{}, err
	}
	t, err := l.template(ctx, name, o.VM)
	if err != nil {
		return Plan{}, err
	}
	plan := Plan{Name: name, Unit: t.unit, VM: o.VM, Options: o, Boots: true, template: t, Notes: vmNotes(o)}
	if hasNone(o) && t.administered() {
		plan.Existing = true
		p, _ := t.settable()
		return plan, l.planNetwork(&plan, p, root{})
	}
	if err := t.check(); err != nil {
		return Plan{}, err
	}
	plan.Unit = transientUnit(name)
	root, err := l.findRoot(ctx, name, o)
	if err != nil {
		return Plan{}, err
	}
	p, left := t.settable()
	if o.Save {
		if plan.Files, err = plan.saved(p, root); err != nil {
			return Plan{}, err
		}
	}
	if len(left) > 0 {
		plan.Notes = append(plan.Notes, "only a unit with a file can have what the files of "+t.unit+" say of "+strings.Join(left, ", "))
	}
	if o.From != "" {
		plan.Clone = &CloneImage{From: o.From, To: name}
	}
	if err := plan.arguments(p, root); err != nil {
		return Plan{}, err
	}
	if err := l.planNetwork(&plan, p, root); err != nil {
		return Plan{}, err
	}
	if err := plan.unitOptions(p); err != nil {
		return Plan{}, err
	}
	plan.ownProperties(p)
	if throwsAway(o) && !o.VM {
		if err := plan.throwAway(p, root, h, l.cfg.Pool, l.cfg.Program); err != nil {
			return Plan{}, err
		}
	}
	t.spell(p)
	plan.Properties = p.inOrder()
	return plan, nil
}

// saved returns the files that keep the options for later starts.
func (plan Plan) saved(p properties, root root) ([]File, error) {
	var argv []string
	o := plan.Options
	runs, _ := p[execStart].Value().([]command)
	if len(runs) == 1 && (root.given() || len(o.Arguments) > 0) {
		// No setting stands for these: they stay on the command line.
		var err error
		plan.Options = machd.StartOptions{Arguments: o.Arguments}
		if argv, err = plan.containerArguments(runs[0], root); err != nil {
			return nil, err
		}
	}
	return savedFiles(plan.Name, o, argv, findSettings(plan.Name, root), readIfThere)
}

func readIfThere(path string) (string, error) {
	text, err := readSmall(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return text, err
}

// readSmall reads a file of settings. Whoever owns the directory of an image may
// have put anything there.
func readSmall(path string) (string, error) {
	const most = 1 << 20
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return "", err
	}
	defer file.Close()
	stat, err := file.Stat()
	switch {
	case err != nil:
		return "", err
	case !stat.Mode().IsRegular() || stat.Size() > most:
		return "", machine1.Errorf(machine1.ErrNotSupported, "'%s' is no file of settings", path)
	}
	text, err := io.ReadAll(io.LimitReader(file, most))
	return string(text), err
}

// arguments changes what the unit runs.
func (plan *Plan) arguments(p properties, root root) error {
	runs, _ := p[execStart].Value().([]command)
	if len(runs) != 1 {
		return machine1.Errorf(machine1.ErrNotSupported, "%s has %d commands in ExecStart=, not one", plan.template.unit, len(runs))
	}
	run := runs[0]
	var err error
	if plan.VM {
		run.Argv = vmArguments(run.Argv, plan.Options, root)
	} else {
		run.Argv, err = plan.containerArguments(run, root)
	}
	if err != nil {
		return err
	}
	p.set(execStart, []command{run})
	if root.given() {
		p.set("RequiresMountsFor", replaced(p.strings("RequiresMountsFor"), machine1.PoolPath+"/"+plan.Name, root.path))
	}
	return nil
}

// containerArguments returns the command line of systemd-nspawn.
func (plan *Plan) containerArguments(run command, root root) ([]string, error) {
	o := plan.Options
	given, err := givenArguments(o, root)
	if err != nil {
		return nil, err
	}
	starts := o.Boot != "" || len(o.Command) > 0
	settings := findSettings(plan.Name, root)
	if !runsNspawn(run) {
		if len(given) > 0 || starts {
			return nil, machine1.Errorf(machine1.ErrNotSupported,
				"Options of systemd-nspawn cannot be used: ExecStart= of %s runs %s", plan.template.unit, run.Path)
		}
		return run.Argv, nil
	}
	line, err := readCommandLine(run.Argv)
	if err != nil {
		return nil, machine1.Errorf(machine1.ErrNotSupported, "ExecStart= of %s is not understood: %v", plan.template.unit, err)
	}
	if len(given) == 0 && !starts {
		plan.Boots = boots(line, settings)
		return run.Argv, nil
	}
	if err := networkIsFree(line, o, settings); err != nil {
		return nil, err
	}
	line.overrule(given, starts, settings)
	if starts {
		line.payload = o.Command
	}
	plan.Boots = boots(line, settings)
	return line.argv(), nil
}

// boots reports whether the command line starts an init. A .nspawn file may
// decide otherwise.
func boots(line commandLine, s *settingsFile) bool {
	_, boot := line.has("boot")
	mode, _ := line.has("settings")
	if mode.value == "override" && s.says(groupStart) || !boot && s.says(groupStart) {
		value, said := s.file.Value("Exec", "Boot")
		yes, err := nspawnfile.ParseBool(value)
		return said && err == nil && yes
	}
	return boot
}

func replaced(list []string, old, with string) []string {
	var result []string
	for _, word := range list {
		if word != old {
			result = append(result, word)
		}
	}
	return append(result, with)
}
