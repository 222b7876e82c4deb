package launch

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/pkg/nspawnfile"
)

const (
	settingsDir = "/etc/systemd/nspawn"
	unitDir     = "/etc/systemd/system"
	// dropInName is the file that machd writes; whatever an administrator calls
	// his, it may be read after it.
	dropInName = "50-machd.conf"
	savedMode  = fs.FileMode(0o644)
)

// SettingsPath is where the .nspawn file of a machine is written.
func SettingsPath(name string) string { return filepath.Join(settingsDir, name+".nspawn") }

// DropInPath is where what the unit of a machine is told is written.
func DropInPath(name string) string { return UnitFiles{Dir: unitDir}.dropInPath(name) }

// A saving is options on their way into the files that later starts read.
type saving struct {
	settings, dropIn *nspawnfile.File
}

// A draft is a file of options while it changes.
type draft struct {
	path    string
	instead *settingsFile // is read as long as there is no file, which would hide it; or nil
	before  string
	file    *nspawnfile.File
}

// openDraft begins with what is in the file, or else with what is read instead.
func openDraft(path string, instead *settingsFile, read func(path string) (string, error)) (*draft, error) {
	text, err := read(path)
	if err != nil {
		return nil, err
	}
	if text == "" && instead != nil {
		text = instead.file.String()
	}
	return &draft{path, instead, text, nspawnfile.Parse(text)}, nil
}

// changed returns what is to be in the file, or "" if that is nothing new.
// Settings that are believed in part only would be believed there.
func (d *draft) changed() (string, error) {
	switch text := d.file.String(); {
	case text == d.before:
		return "", nil
	case d.instead != nil && !d.instead.trusted:
		return "", machine1.Errorf(machine1.ErrNotSupported,
			"The machine's settings are beside its image, where not all of them are believed, and %s would hide them; copied there they can be changed", d.path)
	default:
		return text, nil
	}
}

// savedFiles returns the files that make later starts of the machine what o
// makes of this one, by whatever program: its .nspawn file, and a drop-in for
// its unit systemd-nspawn@NAME.service. Options that are not given stay as they
// were saved. command is what the unit runs, if options ask for what no setting
// stands for, and nil otherwise. instead are the settings that are read as long
// as there are none in /etc, or nil. read returns what is in a file, "" if it is
// not there. Files that would stay as they are are left out.
func savedFiles(name string, o machd.StartOptions, command []string, instead *settingsFile, read func(path string) (string, error)) ([]File, error) {
	if o.Overlay {
		return nil, machine1.Errorf(machine1.ErrInvalidArgs,
			"An overlay cannot be saved: systemd-nspawn has no setting for it; ephemeral has one")
	}
	if o.VM {
		return nil, machine1.Errorf(machine1.ErrInvalidArgs, "Options of a virtual machine cannot be saved: systemd-vmspawn reads no settings")
	}
	if err := checkLines(o, command); err != nil {
		return nil, err
	}
	settings, err := openDraft(SettingsPath(name), instead, read)
	if err != nil {
		return nil, fmt.Errorf("cannot read what was saved before: %w", err)
	}
	dropIn, err := openDraft(DropInPath(name), nil, read)
	if err != nil {
		return nil, fmt.Errorf("cannot read what was saved before: %w", err)
	}
	s := saving{settings.file, dropIn.file}
	s.saveSettings(o)
	s.saveUnit(o, command)
	var files []File
	for _, d := range []*draft{settings, dropIn} {
		text, err := d.changed()
		if err != nil {
			return nil, err
		}
		if text != "" {
			files = append(files, File{Path: d.path, Content: []byte(text), Mode: savedMode})
		}
	}
	return files, nil
}

// checkLines refuses what would be more than one line of a file: there are
// settings in which systemd-nspawn reads no escapes.
func checkLines(o machd.StartOptions, command []string) error {
	l := o.Limits
	for _, text := range slices.Concat(o.Command, o.Environment, o.Capabilities, o.Bind, o.BindReadOnly, o.Properties, command,
		o.VirtualEx, o.MACVLAN, o.IPVLAN, o.Interfaces, o.Addresses, o.Gateways, o.Publish, o.ExposeHost, []string{
			o.Network, o.Zone, o.Bridge, o.MAC, o.Boot, o.Hostname, o.PrivateUsers, o.StopSignal, o.Slice, string(o.Restart), l.Memory, l.Tasks, l.CPUs, l.IOWeight,
		}) {
		if strings.ContainsAny(text, "\n\r") {
			return machine1.Errorf(machine1.ErrInvalidArgs, "%q cannot be saved: a setting is one line; without saving, it may have several", text)
		}
	}
	return nil
}

// saveSettings writes what has a setting.
func (s saving) saveSettings(o machd.StartOptions) {
	switch {
	case o.Boot != "":
		s.settings.Set("Exec", "Boot", o.Boot)
	case len(o.Command) > 0:
		s.settings.Set("Exec", "Boot", "no")
	}
	if len(o.Command) > 0 {
		s.settings.Set("Exec", "Parameters", quoteWords(o.Command))
	}
	s.set(s.settings, "Exec", "Hostname", o.Hostname)
	s.set(s.settings, "Exec", "PrivateUsers", o.PrivateUsers)
	s.set(s.settings, "Exec", "KillSignal", o.StopSignal)
	if o.Ephemeral {
		s.settings.Set("Exec", "Ephemeral", "yes")
	}
	for _, assignment := range o.Environment {
		s.setVariable(assignment)
	}
	s.add("Exec", "Capability", o.Capabilities)
	s.add("Files", "Bind", o.Bind)
	s.add("Files", "BindReadOnly", o.BindReadOnly)
	s.saveNetwork(o.NetworkOptions)
}

// saveUnit writes what PID 1 is told.
func (s saving) saveUnit(o machd.StartOptions, command []string) {
	s.saveLimits(o.Limits)
	s.set(s.dropIn, "Service", "Slice", o.Slice)
	s.set(s.dropIn, "Service", "Restart", string(o.Restart))
	if o.StopTimeout > 0 {
		s.dropIn.Set("Service", "TimeoutStopSec", strconv.FormatInt(o.StopTimeout.Microseconds(), 10)+"us")
	}
	if o.Protect {
		s.dropIn.Set("Unit", "RefuseManualStop", "yes")
	}
	for _, assignment := range o.Properties {
		key, value, _ := strings.Cut(assignment, "=")
		section := sectionOf(key)
		if value == "" {
			s.dropIn.Remove(section, key, "")
		}
		s.dropIn.Add(section, key, value)
	}
	if command != nil {
		// The empty one takes back what the template says.
		s.dropIn.Remove("Service", "ExecStart", "")
		s.dropIn.Add("Service", "ExecStart", "")
		s.dropIn.Add("Service", "ExecStart", strings.ReplaceAll(quoteWords(command), "%", "%%"))
	}
}

func (s saving) saveLimits(l machd.Limits) {
	s.set(s.dropIn, "Service", "MemoryMax", l.Memory)
	s.set(s.dropIn, "Service", "TasksMax", l.Tasks)
	switch l.CPUs {
	case "":
	case "infinity":
		s.dropIn.Set("Service", "CPUQuota", "")
	default:
		if n, err := parseDecimal(l.CPUs); err == nil {
			s.dropIn.Set("Service", "CPUQuota", strconv.FormatFloat(n*100, 'f', -1, 64)+"%")
		}
	}
	if l.IOWeight == "infinity" {
		s.dropIn.Set("Service", "IOWeight", "")
		return
	}
	s.set(s.dropIn, "Service", "IOWeight", l.IOWeight)
}

// set gives a key its value if there is one.
func (s saving) set(f *nspawnfile.File, section, key, value string) {
	if value != "" {
		f.Set(section, key, value)
	}
}

// add adds the values that are not there yet.
func (s saving) add(section, key string, values []string) {
	for _, value := range values {
		if !slices.Contains(s.settings.Values(section, key), value) {
			s.settings.Add(section, key, value)
		}
	}
}

// setVariable replaces an earlier value of the variable where it has a line of
// its own; another one is overruled by standing before it.
func (s saving) setVariable(assignment string) {
	name, _, _ := strings.Cut(assignment, "=")
	for _, value := range s.settings.Values("Exec", "Environment") {
		words, err := splitWords(value)
		if err == nil && len(words) == 1 && strings.HasPrefix(words[0], name+"=") {
			s.settings.Remove("Exec", "Environment", value)
		}
	}
	s.settings.Add("Exec", "Environment", quoteWord(assignment))
}

func quoteWords(words []string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = quoteWord(word)
	}
	return strings.Join(quoted, " ")
}

// unitKeys are the settings that are the same for units of all kinds.
//
// Reference: systemd.unit(5).
const unitKeys = " After Before BindsTo CollectMode Conflicts DefaultDependencies Description Documentation FailureAction IgnoreOnIsolate " +
	"JobTimeoutSec JoinsNamespaceOf OnFailure OnFailureJobMode OnSuccess PartOf PropagatesReloadTo PropagatesStopTo RefuseManualStart " +
	"RefuseManualStop Requires RequiresMountsFor Requisite StartLimitBurst StartLimitIntervalSec StopPropagatedFrom StopWhenUnneeded " +
	"SuccessAction SurviveFinalKillSignal Upholds Wants WantsMountsFor "

func sectionOf(key string) string {
	if strings.Contains(unitKeys, " "+key+" ") || strings.HasPrefix(key, "Condition") || strings.HasPrefix(key, "Assert") {
		return "Unit"
	}
	return "Service"
}
