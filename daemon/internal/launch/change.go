package launch

import (
	"context"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// Kinds of changes.
const (
	changeProperty = "property"
	changeArgument = "argument"
	changeMount    = "mount"
	changeImage    = "image"
	changeFile     = "file"
)

// Changes tells what a plan is, by what is different from the machine that runs,
// or if none does from one that the host's template starts. It changes nothing.
func (l *Launcher) Changes(ctx context.Context, plan Plan) ([]machd.Change, error) {
	before, err := l.before(ctx, plan)
	if err != nil {
		return nil, err
	}
	after := properties{}
	if plan.Existing {
		after, _ = plan.template.settable()
	}
	for _, p := range plan.Properties {
		after[p.Name] = p.Value
	}
	changes := plan.imageChanges()
	changes = append(changes, plan.fileChanges()...)
	changes = append(changes, commandChanges(before, after)...)
	changes = append(changes, propertyChanges(before, after)...)
	if plan.Network != nil {
		changes = append(changes, plan.Network.Changes...)
	}
	return changes, nil
}

// before returns the properties of the unit that carries the machine now, or
// would without us.
func (l *Launcher) before(ctx context.Context, plan Plan) (properties, error) {
	m, ok := l.cfg.Machines.View().Get(plan.Name)
	unit := ""
	if ok {
		var err error
		if unit, err = l.carrier(ctx, m); err != nil {
			return nil, err
		}
	}
	if !strings.HasSuffix(unit, ".service") {
		p, _ := plan.template.settable()
		return p, nil
	}
	all, err := l.cfg.Units.Properties(ctx, unit)
	if err != nil {
		return nil, err
	}
	p, _ := settable(all, plan.template.blank)
	return p, nil
}

func (plan Plan) imageChanges() []machd.Change {
	if plan.Clone == nil {
		return nil
	}
	return []machd.Change{{Kind: changeImage, Name: plan.Clone.To, To: "clone of " + plan.Clone.From}}
}

func (plan Plan) fileChanges() (changes []machd.Change) {
	for _, f := range plan.Files {
		old, _ := os.ReadFile(f.Path)
		changes = append(changes, machd.Change{Kind: changeFile, Name: f.Path, From: string(old), To: string(f.Content)})
	}
	return changes
}

// commandChanges compares what the units run.
func commandChanges(before, after properties) (changes []machd.Change) {
	old, oldErr := lineOf(before)
	planned, newErr := lineOf(after)
	if oldErr != nil || newErr != nil {
		if from, to := shown("", before[execStart].Value()), shown("", after[execStart].Value()); from != to {
			return []machd.Change{{Kind: changeProperty, Name: "ExecStart", From: from, To: to}}
		}
		return nil
	}
	if old.program != planned.program {
		changes = append(changes, machd.Change{Kind: changeArgument, Name: "program", From: old.program, To: planned.program})
	}
	gone, added := differing(old.options, planned.options)
	for _, a := range gone {
		c := a.change()
		c.From, c.To = c.To, ""
		if i := slices.IndexFunc(added, func(b argument) bool { return b.name == a.name && a.group != groupMounts }); i >= 0 {
			c.To = added[i].change().To
			added = slices.Delete(added, i, i+1)
		}
		changes = append(changes, c)
	}
	for _, a := range added {
		if a.words[0] != registers { // of every start
			changes = append(changes, a.change())
		}
	}
	if from, to := quoteWords(old.payload), quoteWords(planned.payload); from != to {
		changes = append(changes, machd.Change{Kind: changeArgument, Name: "command", From: from, To: to})
	}
	return changes
}

const execStart = "ExecStartEx"

func lineOf(p properties) (commandLine, error) {
	runs, _ := p[execStart].Value().([]command)
	if len(runs) != 1 || !runsNspawn(runs[0]) {
		return commandLine{}, fmt.Errorf("it is not one systemd-nspawn")
	}
	return readCommandLine(runs[0].Argv)
}

// change tells of an argument that there is.
func (a argument) change() machd.Change {
	if a.name == "bind" || a.name == "bind-ro" {
		parts := splitColons(a.value)
		c := machd.Change{Kind: changeMount, Name: parts[0], To: parts[0]}
		if len(parts) > 1 {
			c.Name = parts[1]
		}
		var how []string
		if a.name == "bind-ro" {
			how = append(how, "read-only")
		}
		if len(parts) > 2 && parts[2] != "" {
			how = append(how, parts[2])
		}
		if len(how) > 0 {
			c.To += " (" + strings.Join(how, ", ") + ")"
		}
		return c
	}
	c := machd.Change{Kind: changeArgument, Name: "--" + a.name, To: a.value}
	switch {
	case a.words[0] == "-U":
		c.To = "pick"
	case a.value == "":
		c.To = "yes"
	}
	return c
}

// differing returns the arguments that are in one of two lists only.
func differing(a, b []argument) (onlyA, onlyB []argument) {
	rest := slices.Clone(b)
	for _, x := range a {
		if i := slices.IndexFunc(rest, func(y argument) bool { return slices.Equal(x.words, y.words) }); i >= 0 {
			rest = slices.Delete(rest, i, i+1)
			continue
		}
		onlyA = append(onlyA, x)
	}
	return onlyA, rest
}

// propertyChanges compares all but what the units run. That a unit is ours shows
// in properties that nobody has asked for; they are left out.
func propertyChanges(before, after properties) (changes []machd.Change) {
	from, to := before.byKey(), after.byKey()
	keys := maps.Clone(from)
	maps.Copy(keys, to)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if ofEveryStart[key] || alike(before[from[key]].Value(), after[to[key]].Value()) {
			continue
		}
		changes = append(changes, machd.Change{
			Kind: changeProperty, Name: key,
			From: shown(from[key], before[from[key]].Value()), To: shown(to[key], after[to[key]].Value()),
		})
	}
	return changes
}

// byKey returns the names of the properties by what unit files call them.
func (p properties) byKey() map[string]string {
	names := map[string]string{}
	for name := range p {
		names[keyOf(name)] = name
	}
	return names
}

// keyOf returns what unit files call a property.
func keyOf(name string) string {
	if name == "CPUQuotaPerSecUSec" {
		return "CPUQuota"
	}
	if stem, ok := strings.CutSuffix(name, "USec"); ok {
		return stem + "Sec"
	}
	return strings.TrimSuffix(strings.TrimSuffix(name, "Ex"), "Scale")
}

// ofEveryStart are the properties by which PID 1 knows a unit without a file,
// those that it adds to, and what is compared apart.
var ofEveryStart = words(`AddRef CollectMode After Before ExecStart ExecStopPost`)

// alike reports whether two values are the same; PID 1 has dependencies in no
// order.
func alike(a, b any) bool {
	x, ok := a.([]string)
	y, both := b.([]string)
	if !ok || !both {
		return reflect.DeepEqual(a, b)
	}
	return slices.Equal(slices.Sorted(slices.Values(x)), slices.Sorted(slices.Values(y)))
}

// shown returns a value as in a unit file.
func shown(name string, value any) string {
	switch value := value.(type) {
	case nil:
		return ""
	case bool:
		if value {
			return "yes"
		}
		return "no"
	case string:
		return value
	case []string:
		return quoteWords(value)
	case uint64:
		return shownNumber(name, value)
	case uint32:
		if strings.HasSuffix(name, "Scale") {
			return strconv.FormatFloat(float64(value)*100/(1<<32-1), 'f', -1, 32) + "%"
		}
	case []command:
		var lines []string
		for _, c := range value {
			lines = append(lines, strings.Join(append(slices.Clone(c.Flags), quoteWords(c.Argv)), " "))
		}
		return strings.Join(lines, "; ")
	}
	return strings.Trim(fmt.Sprintf("%v", value), "{}")
}

func shownNumber(name string, n uint64) string {
	switch {
	case n == infinity:
		return "infinity"
	case name == "CPUQuotaPerSecUSec":
		return strconv.FormatFloat(float64(n)/10_000, 'f', -1, 64) + "%"
	case strings.HasSuffix(name, "USec"):
		return strconv.FormatFloat(float64(n)/1e6, 'f', -1, 64) + "s"
	case strings.HasPrefix(name, "Memory"):
		for i, unit := range []string{"T", "G", "M", "K"} {
			if factor := uint64(1) << (40 - 10*i); n >= factor && n%factor == 0 {
				return strconv.FormatUint(n/factor, 10) + unit
			}
		}
	}
	return strconv.FormatUint(n, 10)
}

// PlanStart tells what starting a machine would do, and in which unit it would
// run. It changes nothing.
func (l *Launcher) PlanStart(ctx context.Context, name string, o machd.StartOptions) (unit string, changes []machd.Change, err error) {
	plan, err := l.Plan(ctx, name, o)
	if err != nil {
		return "", nil, err
	}
	if m, ok := l.cfg.Machines.View().Get(name); ok && m.Unit != plan.Unit && !slices.Contains(carriers(name), m.Unit) {
		return "", nil, machine1.Errorf(machine1.ErrMachineExists,
			"There is a machine '%s' already, which %s runs in %s", name, m.Service, m.Unit)
	}
	changes, err = l.Changes(ctx, plan)
	return plan.Unit, changes, err
}
