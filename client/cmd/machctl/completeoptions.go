package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/client"
)

// alwaysOffered are options that mean something to every verb.
const alwaysOffered = "help quiet user system host machine no-pager no-ask-password"

// optionCandidates are the options that mean something to the verb.
func (l *line) optionCandidates() candidates {
	var c candidates
	names := strings.Fields(l.row.options + " " + alwaysOffered)
	l.root.PersistentFlags().VisitAll(func(f *pflag.Flag) {
		own := slices.Contains(names, f.Name) || l.verb == nil && (stockOptions[f.Name] || everyVerb[f.Name])
		if own && !f.Hidden {
			_, usage := pflag.UnquoteUsage(f)
			c.list = append(c.list, candidate{"--" + f.Name, usage})
		}
	})
	return c
}

// optionValue is what may stand as the value of an option.
func (l *line) optionValue(f *pflag.Flag) candidates {
	switch f.Name {
	case "columns", "sort":
		return l.columnList(f.Name == "sort")
	case "filter":
		return l.columnNames("", "=")
	case "format":
		return l.formats()
	case "uid":
		return l.userNames()
	case "workdir":
		if len(l.args) > 0 {
			return l.inside(l.args[0])
		}
		return candidates{}
	case "machine":
		return candidates{list: slices.DeleteFunc(l.machines(), func(c candidate) bool { return !strings.HasPrefix(c.what, "container") })}
	case "image", "from":
		return candidates{list: l.images()}
	case "property", "print":
		return l.properties()
	}
	if values, ok := optionValues[f.Name]; ok {
		return texts(nothingElse, values()...)
	}
	switch value, _ := pflag.UnquoteUsage(f); {
	case f.Name == "directory":
		return candidates{rest: directories}
	case strings.Contains(value, "PATH"), strings.Contains(value, "FILE"), strings.HasPrefix(value, "SOURCE"):
		return candidates{rest: files}
	}
	return candidates{}
}

// fixed are values that are always the same.
func fixed(values ...string) func() []string { return func() []string { return values } }

// optionValues are the values of options that anything is known of, by the
// options' long names.
var optionValues = map[string]func() []string{
	"output":        func() []string { return append([]string{outputWide}, outputs...) },
	"json":          fixed("pretty", "short", "off"),
	"signal":        signalNames,
	"stop-signal":   signalNames,
	"kill-whom":     fixed("all", "leader", "supervisor"),
	"max-addresses": fixed("all", "1", "0"),
	"wait":          fixed(waits...),
	"restart":       fixed(restarts...),
	"network":       fixed("veth", "none", "host"),
	"private-users": fixed("yes", "no", "pick", "identity"),
	"runner":        fixed("nspawn", "vmspawn"),
	"verify":        fixed("no", "checksum", "signature"),
	"since":         fixed("today", "yesterday", "-1h", "-1d"),
	"slice":         fixed("machine.slice"),
	"setenv":        variables,
	"env":           variables,
	"bridge":        hostLinks,
	"macvlan":       hostLinks,
	"ipvlan":        hostLinks,
	"interface":     hostLinks,
	"host":          sshHosts,
	"class":         fixed("machine", "portable", "sysext", "confext"),
}

func signalNames() []string {
	var names []string
	for s := unix.Signal(1); s < signalMin; s++ {
		if name := unix.SignalName(s); name != "" {
			names = append(names, name)
		}
	}
	return append(names, "SIGRTMIN+3", "SIGRTMIN+4", "SIGRTMIN+5")
}

// variables are the names of our own environment's.
func variables() []string {
	var names []string
	for _, assignment := range os.Environ() {
		name, _, _ := strings.Cut(assignment, "=")
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// hostLinks are the network links of this host.
func hostLinks() []string {
	entries, _ := os.ReadDir("/sys/class/net")
	var names []string
	for _, e := range entries {
		if e.Name() != "lo" {
			names = append(names, e.Name())
		}
	}
	return names
}

// sshHosts are the hosts that the user's configuration of ssh names.
func sshHosts() []string {
	home, err := os.UserHomeDir()
	if err != nil {
		return nil
	}
	var hosts []string
	text, _ := os.ReadFile(filepath.Join(home, ".ssh/config"))
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(strings.Replace(line, "=", " ", 1))
		if len(words) > 1 && strings.EqualFold(words[0], "host") {
			hosts = append(hosts, words[1:]...)
		}
	}
	text, _ = os.ReadFile(filepath.Join(home, ".ssh/known_hosts"))
	for line := range strings.Lines(string(text)) {
		names, _, _ := strings.Cut(line, " ")
		hosts = append(hosts, strings.Split(names, ",")...)
	}
	slices.Sort(hosts)
	// Patterns name nobody, nor do hashes, comments and ports of their own.
	return slices.DeleteFunc(slices.Compact(hosts), func(h string) bool { return strings.ContainsAny(h, "*?!|#[@\n") || h == "" })
}

// columnNames are the columns of the verb's list between two texts.
func (l *line) columnNames(before, after string) candidates {
	c := candidates{}
	if after != "" {
		c.rest = goesOn
	}
	if l.row.columns != nil {
		for _, column := range l.row.columns() {
			c.list = append(c.list, candidate{before + column.key + after, column.text()})
		}
	}
	return c
}

// columnList completes the last of several columns.
func (l *line) columnList(sorts bool) candidates {
	before := l.current[:strings.LastIndexByte(l.current, ',')+1]
	rest := l.current[len(before):]
	if sorts && strings.HasPrefix(rest, "-") || !sorts && before == "" && strings.HasPrefix(rest, "+") {
		before += rest[:1]
	}
	return l.columnNames(before, "")
}

// formats are templates of one column, or the compressions of an export.
func (l *line) formats() candidates {
	if l.verb != nil && strings.HasPrefix(l.verb.Name(), "export-") {
		return texts(nothingElse, "uncompressed", "xz", "gzip", "bzip2", "zstd")
	}
	return l.columnNames("{{.", "}}")
}

// userNames are users of the machine on the line, or of those that run.
func (l *line) userNames() candidates {
	machines := l.machines()
	if len(l.args) > 0 {
		machines = []candidate{{word: l.args[0]}}
	}
	var names []string
	for _, c := range l.usersOf(machines) {
		name, _, _ := strings.Cut(c.word, "@")
		names = append(names, name)
	}
	slices.Sort(names)
	return texts(nothingElse, slices.Compact(names)...)
}

// unitProperties are settings of a unit that machines are often given.
var unitProperties = []string{
	"AllowedCPUs=", "BlockIOWeight=", "CPUQuota=", "CPUWeight=", "Delegate=", "Description=", "DeviceAllow=", "DevicePolicy=",
	"Environment=", "IOReadBandwidthMax=", "IOWeight=", "IOWriteBandwidthMax=", "IPAddressAllow=", "IPAddressDeny=", "KillMode=",
	"LimitCORE=", "LimitMEMLOCK=", "LimitNOFILE=", "LimitNPROC=", "MemoryHigh=", "MemoryLow=", "MemoryMax=", "MemorySwapMax=",
	"Nice=", "OOMPolicy=", "OOMScoreAdjust=", "Restart=", "RestartSec=", "RuntimeMaxSec=", "Slice=", "TasksMax=",
	"TimeoutStartSec=", "TimeoutStopSec=",
}

// properties are those of what the verb shows, or of the unit that it starts.
func (l *line) properties() candidates {
	switch {
	case l.verb != nil && slices.Contains(strings.Fields(l.row.options), "publish"):
		return texts(goesOn, unitProperties...)
	case l.verb != nil && l.verb.Name() == "show-image":
		return texts(nothingElse, client.ImagePropertyNames()...)
	}
	return texts(nothingElse, append(client.MachinePropertyNames(), client.ManagerPropertyNames()...)...)
}
