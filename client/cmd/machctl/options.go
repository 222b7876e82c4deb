package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Defaults of --timeout.
const (
	listTimeout = 3 * time.Second // for one machine
	stopTimeout = 2 * time.Minute // systemd's own limit for a container's unit
)

// unlimited is a number of addresses.
const unlimited = -1

// options are the options of the command line. Every verb accepts all of them,
// before and behind it, as scripts expect; not every verb minds them.
type options struct {
	stock         bool // called as machinectl
	version       bool
	introspectCLI bool
	user          bool
	noPager       bool
	noLegend      bool
	noAskPassword bool
	all           bool
	full          bool
	quiet         bool
	value         bool
	noWait        bool
	readOnly      bool
	mkdir         bool
	force         bool
	flat          bool
	withSettings  bool
	properties    []string
	whom          string
	signal        string
	uid           string
	environment   []string
	lines         uint
	maxAddresses  addressLimit
	output        string
	jsonOption    jsonStyle
	watching      bool
	timeout       durationFlag
	execOptions
	startOptions
	stopOptions
	enableOptions
	runOptions
	observeOptions
	networkOptions
	chooseOptions
	remoteOptions
	transferOptions
	createOptions
	askOptions
}

func (o *options) addFlags(f *pflag.FlagSet) {
	f.SortFlags = false
	f.BoolP("help", "h", false, "Show help")
	f.BoolVar(&o.version, "version", false, "Show the version")
	f.BoolVar(&o.introspectCLI, "introspect-cli", false, "Print all verbs and options as JSON")
	f.BoolVar(&o.user, "user", false, "Speak of the user's own machines")
	f.BoolFunc("system", "Speak of the system's machines, the default", func(string) error { o.user = false; return nil })
	o.addRemoteFlags(f)
	f.BoolVarP(&o.all, "all", "a", false, "Show or clean everything: hidden names, empty properties, whole lines")
	f.BoolVarP(&o.full, "full", "l", false, "Cut nothing off")
	f.Var(&o.maxAddresses, "max-addresses", "`N` addresses of a machine at most, or all")
	f.BoolVar(&o.noLegend, "no-legend", false, "Show neither header nor footer")
	f.BoolVar(&o.noPager, "no-pager", false, "Do not show long output through a pager")
	f.StringVarP(&o.output, "output", "o", "", "Show more columns with wide, or log lines or a list in another `FORMAT`")
	f.VarP(&o.jsonOption, "json", "j", "Print JSON: pretty, short or off as `HOW`; alone, pretty on a terminal")
	f.Lookup("json").NoOptDefVal = "auto"
	o.addChooseFlags(f)
	f.BoolVar(&o.watching, "watch", false, "Print again when something changes, until ^C")
	o.lines = 10
	f.VarP(&lineCount{&o.lines}, "lines", "n", "Show `N` log lines")
	f.StringArrayVarP(&o.properties, "property", "p", nil, "Show only this `PROPERTY`; to start and run, of the unit, and -p a port as well")
	f.BoolVar(&o.value, "value", false, "Show values without names")
	f.VarP(&valueOf{o}, "print", "P", "Show only the value of this `PROPERTY`")
	f.StringVarP(&o.signal, "signal", "s", "TERM", "Send this `SIGNAL`; help and list show which there are")
	f.StringVar(&o.whom, "kill-whom", "", "`WHOM` to send it to: leader, supervisor or all")
	f.StringVarP(&o.uid, "uid", "u", "", "Run the shell or command as this `USER`")
	f.VarP(&appended{&o.environment}, "setenv", "E", "Set `VAR[=VALUE]` for the shell or command; may be repeated")
	o.addExecFlags(f)
	o.addStartFlags(f)
	o.addStopFlags(f)
	o.addEnableFlags(f)
	o.addRunnerFlags(f)
	o.addRunFlags(f)
	o.addObserveFlags(f)
	o.addNetworkFlags(f)
	o.addTransferFlags(f)
	o.addCreateFlags(f)
	o.addAskFlags(f)
	f.BoolVar(&o.readOnly, "read-only", false, "Make the mount or the clone read-only")
	f.BoolVar(&o.mkdir, "mkdir", false, "Make the mount point if it is not there")
	f.BoolVar(&o.force, "force", false, "Replace what is there already")
	f.BoolVar(&o.flat, "flat", false, "Give what is copied to root, whoever owns it")
	f.BoolVar(&o.withSettings, "with-settings", false, "Remove its settings in /etc/systemd too, and that it starts with the host")
	f.Var(&o.timeout, "timeout", "Wait as long as `TIME`, such as 30s or 5m")
	f.BoolVar(&o.noWait, "no-wait", false, "Return at once")
	f.BoolVar(&o.noAskPassword, "no-ask-password", false, "Do not ask for passwords")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "Say less")
	o.maxAddresses.n = 1
}

// json reports whether a result is wanted as JSON. What is no list the stock
// command shows as it always does, and --output is of log lines.
func (o *options) json() bool { return o.jsonOption.on() || !o.stock && o.stockJSON() }

// stockJSON reports whether a list is wanted as the JSON of the stock command, where
// that has any.
func (o *options) stockJSON() bool {
	return !o.jsonOption.given() && strings.HasPrefix(o.output, "json")
}

// structured reports whether a result is wanted as anything but the text that is
// its usual form.
func (o *options) structured() bool {
	return o.json() || o.format != "" || len(o.columns) > 0
}

func (o *options) prettyJSON() bool {
	return o.jsonOption == "pretty" || o.stockJSON() && o.output == "json-pretty"
}

// abbreviations completes a name that only one option begins with. Nearly every
// name is a whole one, and is asked for many times.
func (a *app) abbreviations(f *pflag.FlagSet) func(*pflag.FlagSet, string) pflag.NormalizedName {
	meant := map[string]pflag.NormalizedName{"whom": "kill-whom"}
	f.VisitAll(func(flag *pflag.Flag) { meant[flag.Name] = pflag.NormalizedName(flag.Name) })
	return func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if whole, ok := meant[name]; ok {
			return whole
		}
		if a.stock {
			// Of ours none is meant that is not named whole.
			if stock := stockMeant(name); len(stock) == 1 {
				return pflag.NormalizedName(stock[0])
			}
			return pflag.NormalizedName(name)
		}
		only := pflag.NormalizedName(name)
		matches := 0
		for full, option := range meant {
			if strings.HasPrefix(full, name) {
				only = option
				matches++
			}
		}
		if matches != 1 {
			return pflag.NormalizedName(name)
		}
		return only
	}
}

// outputs are the formats of log lines; lists know the JSON ones.
var outputs = []string{
	"short", "short-full", "short-iso", "short-iso-precise", "short-precise", "short-monotonic", "short-delta", "short-unix",
	"verbose", "export", "json", "json-pretty", "json-sse", "json-seq", "cat", "with-unit",
}

// outputWide is the format of a list with more columns.
const outputWide = "wide"

// stockOptions are the options of the stock command, by long name.
var stockOptions = setOf("no-pager no-legend no-ask-password host machine system user property value print all full kill-whom signal " +
	"uid setenv read-only mkdir lines max-addresses output force now runner vmspawn quiet verify")

// everyVerb are options of ours that every verb knows.
var everyVerb = setOf("help version introspect-cli json")

func setOf(names string) map[string]bool {
	set := map[string]bool{}
	for name := range strings.FieldsSeq(names) {
		set[name] = true
	}
	return set
}

// errAnswered ends a command line whose options have said all that is wanted.
var errAnswered = errors.New("it is answered")

// check refuses values that parse but mean nothing, before anything is done.
func (a *app) check(cmd *cobra.Command) error {
	switch text, err := a.toldInstead(cmd); {
	case err != nil:
		return err
	case text != "":
		a.ui.print(text)
		return errAnswered
	}
	if err := a.ownOptionsOnly(cmd); err != nil {
		return err
	}
	if f := cmd.Flags().Lookup("output"); f != nil && f.Changed && a.output == "" {
		return stocked(usagef("--output: there is no format \"\""), "Unknown output ''.")
	}
	if a.stock && a.format != "" {
		if _, err := compression(a.format, ""); err != nil {
			return stocked(err, "Unknown format: %s", a.format)
		}
		if !strings.HasPrefix(cmd.Name(), "export-") {
			a.format = ""
		}
	}
	return a.options.check()
}

// toldInstead returns what some options ask for, whatever the verb is.
func (a *app) toldInstead(cmd *cobra.Command) (string, error) {
	switch {
	case a.version:
		if a.stock {
			return stockVersionText(cmd.Context()), nil
		}
		return versionText(), nil
	case a.introspectCLI:
		return a.introspection(cmd.Root().PersistentFlags())
	}
	return a.choices(), nil
}

// choices returns what an option may be, if that is what is asked for.
func (o *options) choices() string {
	if text, ok := signalListing(o.signal); ok {
		return text
	}
	switch {
	case o.output == choicesWanted:
		return strings.Join(outputs, "\n") + "\n"
	case o.verify.value == choicesWanted:
		return strings.Join(o.verify.choices, "\n") + "\n"
	}
	return ""
}

func (o *options) check() error {
	if err := o.checkRemote(); err != nil {
		return err
	}
	if _, err := parseSignal(o.signal, o.stock); err != nil {
		return stocked(err, "Failed to parse signal string \"%s\".", o.signal)
	}
	if o.output != "" && o.output != outputWide && !slices.Contains(outputs, o.output) {
		return stocked(usagef("--output: there is no format %q%s", o.output, orOnly(o.output, append([]string{outputWide}, outputs...))), "Unknown output '%s'.", o.output)
	}
	for i, assignment := range o.environment {
		name, _, assigned := strings.Cut(assignment, "=")
		if !validVariable(name) {
			return stocked(usagef("--setenv: %q is no name of an environment variable", name), "Cannot assign environment variable %s: Invalid argument", assignment)
		}
		if !assigned {
			value, ok := os.LookupEnv(name)
			if !ok && o.stock {
				continue // as machinectl does
			}
			if !ok {
				return usagef("--setenv: %s is not set here, so give a value: %s=VALUE", name, name)
			}
			o.environment[i] = name + "=" + value
		}
	}
	o.environment = lastOfEach(o.environment)
	return nil
}

// lastOfEach keeps what was said last of each variable, and drops names without
// a value.
func lastOfEach(environment []string) (kept []string) {
	values := map[string]string{}
	for _, assignment := range environment {
		if name, _, ok := strings.Cut(assignment, "="); ok {
			values[name] = assignment
		}
	}
	for _, assignment := range environment {
		name, _, _ := strings.Cut(assignment, "=")
		if last, ok := values[name]; ok {
			kept = append(kept, last)
			delete(values, name)
		}
	}
	return kept
}

func validVariable(name string) bool {
	for i := range len(name) {
		c := name[i]
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

// jsonStyle is the value of --json.
type jsonStyle string

func (j *jsonStyle) Set(how string) error {
	switch how {
	case "pretty", "short", "off":
	case "auto":
		how = "short"
		if isTerminal(os.Stdout) {
			how = "pretty"
		}
	default:
		return errors.New("it is pretty, short or off")
	}
	*j = jsonStyle(how)
	return nil
}

func (j jsonStyle) given() bool { return j != "" }
func (j jsonStyle) on() bool    { return j.given() && j != "off" }

func (j *jsonStyle) String() string { return "" }
func (j *jsonStyle) Type() string   { return "HOW" }

// valueOf is -P: --property and --value in one.
type valueOf struct{ o *options }

func (v *valueOf) Set(name string) error {
	v.o.properties = append(v.o.properties, name)
	v.o.value = true
	return nil
}

func (v *valueOf) String() string { return "" }
func (v *valueOf) Type() string   { return "PROPERTY" }

// durationFlag is the value of --timeout, 0 if it was not given.
type durationFlag struct{ d time.Duration }

func (d *durationFlag) Set(text string) error {
	parsed, err := parseDuration(text)
	if err != nil || parsed <= 0 {
		return fmt.Errorf("not a time")
	}
	d.d = parsed
	return nil
}

func (d *durationFlag) String() string { return "" }
func (d *durationFlag) Type() string   { return "TIME" }

func (d *durationFlag) or(otherwise time.Duration) time.Duration {
	if d.d > 0 {
		return d.d
	}
	return otherwise
}
