package launch

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// checkOptions refuses options that contradict each other, and values that make
// no sense on any host.
func checkOptions(o machd.StartOptions) error {
	for _, check := range []func(machd.StartOptions) error{checkRoots, checkPayload, checkVM, checkWords, checkBinds, checkNetwork, checkUnitWords} {
		if err := check(o); err != nil {
			return err
		}
	}
	return nil
}

func invalid(option, format string, args ...any) error {
	return machine1.Errorf(machine1.ErrInvalidArgs, "Invalid value of option '"+option+"': "+format, args...)
}

func contradiction(format string, args ...any) error {
	return machine1.Errorf(machine1.ErrInvalidArgs, format, args...)
}

func checkRoots(o machd.StartOptions) error {
	var given []string
	for _, c := range []struct{ option, value string }{
		{"image", o.Image}, {"directory", o.Directory}, {"disk", o.Disk}, {"from", o.From},
	} {
		if c.value != "" {
			given = append(given, "'"+c.option+"'")
		}
	}
	switch {
	case len(given) > 1:
		return contradiction("Options %s contradict each other: a machine has one root", strings.Join(given, " and "))
	case o.Ephemeral && o.Overlay:
		return contradiction("Options 'ephemeral' and 'overlay' contradict each other: what is thrown away is a snapshot or an overlay")
	case o.From != "" && (o.Ephemeral || o.Overlay):
		return contradiction("Option 'from' makes an image that stays; with 'image' one is started without being changed by 'ephemeral' or 'overlay'")
	}
	for option, path := range map[string]string{"directory": o.Directory, "disk": o.Disk} {
		if path != "" && !isCleanPath(path) {
			return invalid(option, "'%s' is no absolute, normalized path", path)
		}
	}
	for option, name := range map[string]string{"image": o.Image, "from": o.From} {
		if name != "" && !machine1.ValidImageName(name) {
			return invalid(option, "'%s' is no name of an image; a path is for 'directory' or 'disk'", name)
		}
	}
	return nil
}

func isCleanPath(path string) bool { return filepath.IsAbs(path) && filepath.Clean(path) == path }

func checkPayload(o machd.StartOptions) error {
	switch o.Boot {
	case "", "yes":
	case "no":
		if len(o.Command) == 0 {
			return contradiction("Option 'boot' is no, and there is no 'command' that would run instead of the init")
		}
	default:
		return invalid("boot", "'%s' is neither yes nor no", o.Boot)
	}
	if len(o.Command) > 0 && o.Command[0] == "" {
		return invalid("command", "the program has no name")
	}
	return nil
}

// checkVM refuses what only containers have.
func checkVM(o machd.StartOptions) error {
	if !o.VM {
		return nil
	}
	for _, c := range []struct {
		option string
		given  bool
	}{
		{"overlay", o.Overlay}, {"boot", o.Boot != ""}, {"command", len(o.Command) > 0},
		{"environment", len(o.Environment) > 0}, {"hostname", o.Hostname != ""}, {"private_users", o.PrivateUsers != ""},
		{"capability", len(o.Capabilities) > 0}, {"stop_signal", o.StopSignal != ""},
	} {
		if c.given {
			return notForVM(c.option)
		}
	}
	if given := networkGiven(o.NetworkOptions); len(given) > 0 {
		return notForVM(given[0])
	}
	return nil
}

func notForVM(option string) error {
	return contradiction("Option '%s' is for containers, and 'vm' asks for a virtual machine", option)
}

func checkWords(o machd.StartOptions) error {
	for _, e := range o.Environment {
		if name, _, ok := strings.Cut(e, "="); !ok || !isVariable(name) {
			return invalid("environment", "'%s' is not NAME=VALUE", e)
		}
	}
	if o.Hostname != "" && !machine1.ValidMachineName(o.Hostname) {
		return invalid("hostname", "'%s' is no host name", o.Hostname)
	}
	if o.PrivateUsers != "" && !isUserMapping(o.PrivateUsers) {
		return invalid("private_users", "'%s' is none of yes, no, pick, identity and a first ID", o.PrivateUsers)
	}
	for _, name := range o.Capabilities {
		if name != "all" && !isCapability(name) {
			return invalid("capability", "'%s' is no capability, as CAP_NET_ADMIN is", name)
		}
	}
	if o.StopSignal != "" {
		if _, err := parseSignal(o.StopSignal); err != nil {
			return invalid("stop_signal", "%v", err)
		}
	}
	if o.VM {
		return checkVMArguments(o.Arguments)
	}
	return checkArguments(o.Arguments)
}

func isVariable(name string) bool {
	return name != "" && !('0' <= name[0] && name[0] <= '9') &&
		strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

func isCapability(name string) bool {
	rest, ok := strings.CutPrefix(strings.ToUpper(name), "CAP_")
	return ok && rest != "" && strings.Trim(rest, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") == ""
}

func isUserMapping(text string) bool {
	if slices.Contains([]string{"yes", "no", "pick", "identity", "managed"}, text) {
		return true
	}
	for _, number := range strings.SplitN(text, ":", 2) {
		if _, err := strconv.ParseUint(number, 10, 32); err != nil {
			return false
		}
	}
	return true
}

// otherOption are the options of systemd-nspawn that a start decides about by
// options of its own, or by itself.
var otherOption = map[string]string{
	"machine": "the machine's name", "directory": "option 'directory' or 'image'", "image": "option 'disk' or 'image'",
	"template": "option 'from'", "slice": "option 'slice'", "property": "option 'property'", "settings": "the host's template",
	"register": "the host's template", "keep-unit": "the host's template", "ephemeral": "option 'ephemeral'",
	"boot": "option 'boot'", "as-pid2": "option 'boot'", "cleanup": "the end of the machine",
}

func checkArguments(words []string) error {
	given, rest, err := readOptions(words)
	if err != nil {
		return invalid("nspawn_arguments", "%v", err)
	}
	if len(rest) > 0 {
		return invalid("nspawn_arguments", "'%s' is no option of systemd-nspawn; what the machine runs is for 'command'", rest[0])
	}
	for _, a := range given {
		if other, ok := otherOption[a.name]; ok {
			return notForArguments(a.name, other)
		}
	}
	return nil
}

func notForArguments(name, other string) error {
	return invalid("nspawn_arguments", "--%s is not for it to decide, but for %s", name, other)
}

// otherVMOption are those of systemd-vmspawn.
var otherVMOption = map[string]string{
	"machine": "the machine's name", "directory": "option 'directory' or 'image'", "image": "option 'disk' or 'image'",
	"ephemeral": "option 'ephemeral'", "slice": "option 'slice'", "property": "option 'property'",
	"register": "the host's template", "keep-unit": "the host's template", "user": "the host's template", "system": "the host's template",
}

// checkVMArguments takes long options only, each in one word: which of
// systemd-vmspawn's have a value changes with its version.
func checkVMArguments(words []string) error {
	for _, word := range words {
		name, ok := strings.CutPrefix(word, "--")
		name, _, _ = strings.Cut(name, "=")
		if !ok || name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return invalid("nspawn_arguments", "'%s' is no option of systemd-vmspawn in the form --NAME or --NAME=VALUE", word)
		}
		for _, long := range slices.Sorted(maps.Keys(otherVMOption)) {
			if strings.HasPrefix(long, name) { // it may be abbreviated
				return notForArguments(long, otherVMOption[long])
			}
		}
	}
	return nil
}

func checkBinds(o machd.StartOptions) error {
	for option, binds := range map[string][]string{"bind": o.Bind, "bind_ro": o.BindReadOnly} {
		for _, bind := range binds {
			if err := checkBind(option, bind); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkBind refuses a mount whose source there is not; systemd-nspawn would fail
// when the unit has started. A source that begins with a plus is in the image.
func checkBind(option, bind string) error {
	parts := splitColons(bind)
	source := parts[0]
	if len(parts) > 1 && parts[1] != "" && !filepath.IsAbs(parts[1]) {
		return invalid(option, "the destination '%s' is no absolute path", parts[1])
	}
	if inImage, ok := strings.CutPrefix(source, "+"); ok {
		if !filepath.IsAbs(inImage) {
			return invalid(option, "'%s' is no absolute path", inImage)
		}
		return nil
	}
	if source == "" && len(parts) > 1 {
		return nil // a directory that is made for it
	}
	if !filepath.IsAbs(source) {
		return invalid(option, "the source '%s' is no absolute path", source)
	}
	if _, err := os.Stat(source); err != nil {
		return machine1.Errorf(machine1.ErrFileNotFound, "Invalid value of option '%s': there is no '%s' on this host", option, source)
	}
	return nil
}

// splitColons splits at colons that no backslash stands before.
func splitColons(text string) []string {
	parts := []string{""}
	for i := 0; i < len(text); i++ {
		last := &parts[len(parts)-1]
		switch {
		case text[i] == '\\' && i+1 < len(text):
			i++
			*last += text[i : i+1]
		case text[i] == ':':
			parts = append(parts, "")
		default:
			*last += text[i : i+1]
		}
	}
	return parts
}

func checkUnitWords(o machd.StartOptions) error {
	if o.Slice != "" && (!strings.HasSuffix(o.Slice, ".slice") || strings.ContainsAny(o.Slice, "/ \t\n")) {
		return invalid("slice", "'%s' is no name of a slice, as machine.slice is", o.Slice)
	}
	_, err := limitProperties(o.Limits)
	return err
}

// givenArguments returns the options of systemd-nspawn that o asks for.
func givenArguments(o machd.StartOptions, root root) ([]argument, error) {
	var given []argument
	if root.given() {
		given = append(given, root.argument())
	}
	if o.Ephemeral {
		given = append(given, flag("ephemeral"))
	}
	switch {
	case o.Boot == "yes":
		given = append(given, flag("boot"))
	case len(o.Command) > 0 && o.Boot != "yes":
		// Under an init of its own that ends when it is told to and takes in
		// orphans; few programs do either as PID 1.
		given = append(given, flag("as-pid2"))
	}
	for _, list := range []struct {
		option string
		values []string
	}{{"bind", o.Bind}, {"bind-ro", o.BindReadOnly}, {"setenv", o.Environment}, {"capability", o.Capabilities}} {
		for _, value := range list.values {
			given = append(given, option(list.option, value))
		}
	}
	if o.Hostname != "" {
		given = append(given, option("hostname", o.Hostname))
	}
	if o.StopSignal != "" {
		given = append(given, option("kill-signal", signalName(o.StopSignal)))
	}
	given = append(given, userArguments(o.PrivateUsers)...)
	given = append(given, networkArguments(o.NetworkOptions)...)
	raw, _, err := readOptions(o.Arguments)
	return append(given, raw...), err
}

// signalName returns a signal as systemd-nspawn reads it.
func signalName(text string) string {
	name := strings.ToUpper(text)
	if _, err := strconv.Atoi(text); err != nil && !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	return name
}

// userArguments maps the users of a machine. Whoever owned the image's files by
// itself owns them in the machine, as with the stock template.
func userArguments(mapping string) []argument {
	switch mapping {
	case "":
		return nil
	case "no", "identity", "yes", "managed":
		return []argument{option("private-users", mapping)}
	}
	return []argument{option("private-users", mapping), option("private-users-ownership", "auto")}
}

// vmArguments returns the command line of systemd-vmspawn. Of options that are
// there twice the last one is heeded, but what is no option comes last.
func vmArguments(argv []string, o machd.StartOptions, root root) []string {
	var given []string
	if root.given() {
		given = append(given, root.argument().words...)
	}
	if o.Ephemeral {
		given = append(given, "--ephemeral")
	}
	for _, bind := range o.Bind {
		given = append(given, "--bind="+bind)
	}
	for _, bind := range o.BindReadOnly {
		given = append(given, "--bind-ro="+bind)
	}
	given = append(given, o.Arguments...)
	if strings.HasPrefix(argv[len(argv)-1], "-") {
		return append(slices.Clone(argv), given...)
	}
	return slices.Insert(slices.Clone(argv), 1, given...)
}

// vmNotes says what a person may take an option for that it is not.
func vmNotes(o machd.StartOptions) (notes []string) {
	if o.VM && o.Limits.Memory != "" {
		notes = append(notes, "option 'memory' limits what the host gives the virtual machine; what it has inside is for --ram= of systemd-vmspawn")
	}
	return notes
}
