package launch

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/machd/machd/pkg/nspawnfile"
)

// An argument is one option of a command line.
type argument struct {
	words []string // as they stand there, one or two
	name  string   // of the option, long
	value string
	group group
}

func option(name, value string) argument {
	return argument{words: []string{"--" + name + "=" + value}, name: name, value: value, group: nspawnOptions[name].group}
}

// isOtherNetwork reports whether an option is about a network that leaves no
// room for the template's; the others add interfaces.
func (a argument) isOtherNetwork() bool {
	return a.name == "network-namespace-path" || a.name == "private-network" || a.name == hostNetwork.name
}

// hostNetwork stands for no option at all: without any about its network, a
// machine has the host's.
var hostNetwork = argument{name: "host-network", group: groupNetwork}

func flag(name string) argument {
	return argument{words: []string{"--" + name}, name: name, group: nspawnOptions[name].group}
}

// A commandLine is one of systemd-nspawn.
type commandLine struct {
	program string
	options []argument
	payload []string // the machine's program and its arguments, or those of its init
}

// readCommandLine takes apart what a unit runs.
func readCommandLine(argv []string) (c commandLine, err error) {
	if len(argv) == 0 {
		return commandLine{}, fmt.Errorf("the command is empty")
	}
	c.program = argv[0]
	c.options, c.payload, err = readOptions(argv[1:])
	return c, err
}

// readOptions reads options up to the first word that is none.
func readOptions(words []string) (options []argument, rest []string, err error) {
	for len(words) > 0 {
		switch word := words[0]; {
		case word == "--":
			return options, words[1:], nil
		case strings.HasPrefix(word, "--"):
			a, n, err := readLong(words)
			if err != nil {
				return nil, nil, err
			}
			options, words = append(options, a), words[n:]
		case len(word) > 1 && word[0] == '-':
			some, n, err := readShort(words)
			if err != nil {
				return nil, nil, err
			}
			options, words = append(options, some...), words[n:]
		default:
			return options, words, nil
		}
	}
	return options, nil, nil
}

// readLong reads an option, and tells how many words it has.
func readLong(words []string) (a argument, n int, err error) {
	name, value, hasValue := strings.Cut(words[0][2:], "=")
	known, ok := nspawnOptions[name]
	switch {
	case !ok:
		return argument{}, 0, fmt.Errorf("systemd-nspawn has no option --%s", name)
	case hasValue && known.takes == takesNothing:
		return argument{}, 0, fmt.Errorf("the option --%s takes no value", name)
	case hasValue || known.takes != takesValue:
		return argument{words[:1:1], name, value, known.group}, 1, nil
	case len(words) < 2:
		return argument{}, 0, fmt.Errorf("the option --%s lacks its value", name)
	}
	return argument{words[:2:2], name, words[1], known.group}, 2, nil
}

// readShort reads a word of letters, each of which is an option.
func readShort(words []string) (options []argument, n int, err error) {
	for letters := words[0][1:]; letters != ""; letters = letters[1:] {
		name, ok := shortOptions[letters[0]]
		switch {
		case !ok:
			return nil, 0, fmt.Errorf("systemd-nspawn has no option -%c", letters[0])
		case !strings.Contains(valueLetters, letters[:1]):
			options = append(options, argument{[]string{"-" + letters[:1]}, name, "", nspawnOptions[name].group})
			continue
		}
		value, n := letters[1:], 1
		if value == "" {
			if len(words) < 2 {
				return nil, 0, fmt.Errorf("the option -%c lacks its value", letters[0])
			}
			value, n = words[1], 2
		}
		return append(options, option(name, value)), n, nil
	}
	return options, 1, nil
}

// argv returns the command line with the machine's own words apart from the
// options.
func (c commandLine) argv() []string {
	argv := []string{c.program}
	for _, o := range c.options {
		argv = append(argv, o.words...)
	}
	if len(c.payload) > 0 {
		argv = append(append(argv, "--"), c.payload...)
	}
	return argv
}

func (c *commandLine) remove(match func(argument) bool) {
	c.options = slices.DeleteFunc(slices.Clone(c.options), match)
}

// has returns the last option of that name.
func (c commandLine) has(name string) (argument, bool) {
	for _, o := range slices.Backward(c.options) {
		if o.name == name {
			return o, true
		}
	}
	return argument{}, false
}

// A settingsFile is the .nspawn file of a machine.
type settingsFile struct {
	trusted bool // systemd-nspawn believes all of it by itself
	file    *nspawnfile.File
}

// says reports whether the file says anything about the group.
func (s *settingsFile) says(g group) bool {
	if s == nil {
		return false
	}
	return slices.ContainsFunc(settingsOf[g], func(setting string) bool {
		section, key, _ := strings.Cut(setting, "/")
		_, ok := s.file.Value(section, key)
		return ok
	})
}

// options returns what the file says of a group that grows, as options.
func (s *settingsFile) options(g group) (options []argument) {
	for _, setting := range settingsOf[g] {
		section, key, _ := strings.Cut(setting, "/")
		for _, value := range s.file.Values(section, key) {
			list := []string{value}
			if section == "Exec" { // lists of words
				list, _ = splitWords(value)
			}
			for _, value := range list {
				options = append(options, option(optionOfSetting[setting], value))
			}
		}
	}
	return options
}

// overrule puts options into the command line so that they win over what it has
// already, and over the machine's .nspawn file. Of mounts, variables and the like
// there is more than one, so that they are added to what both say.
//
// The command line of the stock template lets the file win (--settings=override).
// That stays unless the file speaks of what the options are about. Then the
// command line has to win (--settings=trusted), and whatever else is on it that
// the file speaks of, and would have won over, goes.
func (c *commandLine) overrule(given []argument, start bool, s *settingsFile) {
	groups := map[group]bool{groupStart: start}
	for _, a := range given {
		if a.group != "" {
			groups[a.group] = true
		}
	}
	mode, _ := c.has("settings")
	reads := s != nil && mode.value != "no" && mode.value != "false" && mode.value != "0"
	overrides := reads && mode.value == "override"
	believed := overrides || reads && (mode.value == "trusted" || s.trusted)
	contested := false
	for g, on := range groups {
		contested = contested || on && reads && s.says(g)
	}
	c.remove(func(a argument) bool {
		switch {
		case a.group == groupNetwork && groups[groupNetwork]:
			return slices.ContainsFunc(given, func(b argument) bool {
				return b.isOtherNetwork() || a.name == b.name && a.value == b.value
			})
		case groups[a.group] && !a.group.grows():
			return true
		case overrides && contested && a.group != "" && s.says(a.group):
			return true
		}
		return overrides && contested && a.name == "settings"
	})
	if contested && overrides {
		c.options = append(c.options, option("settings", "trusted"))
	}
	if contested && believed {
		for _, g := range slices.Sorted(maps.Keys(settingsOf)) {
			if groups[g] && g.grows() && s.says(g) {
				c.options = append(c.options, s.options(g)...)
			}
		}
	}
	c.options = append(c.options, given...)
}

// runsNspawn reports whether a unit runs systemd-nspawn itself, whose command line
// we know.
func runsNspawn(c command) bool { return filepath.Base(c.Path) == "systemd-nspawn" }
