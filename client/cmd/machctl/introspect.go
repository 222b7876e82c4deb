package main

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// cliMediaType is that of what the programs of systemd 262 tell of their command
// lines, by --introspect-cli. Ours is told in the same keys.
const cliMediaType = "application/vnd.io.systemd.cli-introspection-0"

// defaultVerb is what a command line without a verb means.
const defaultVerb = "list"

// introspection is the command line as data: called as machinectl, no more of it
// than the stock command has.
func (a *app) introspection(flags *pflag.FlagSet) (string, error) {
	name, options, verbs := "machctl", a.toldOptions(flags, ownNames), a.toldVerbs()
	if a.stock {
		name, options, verbs = machinectl, a.toldOptions(flags, stockNames), a.toldStockVerbs()
	}
	switch pretty := a.ui.isTerminal(); {
	case a.stock && pretty:
		a.output = "json-pretty"
	case !a.jsonOption.given() && pretty:
		a.jsonOption = "pretty"
	}
	return a.encodeJSON(object{
		{"mediaType", cliMediaType},
		{"commands", []object{{
			{"names", []string{name}},
			{"project", "machd"},
			{"version", programVersion()},
			{"features", []string{}},
			{"abstract", []string{aboutUs + "."}},
			{"options", options},
			{"verbs", verbs},
		}}},
	})
}

func (a *app) toldOptions(flags *pflag.FlagSet, namesOf func(*pflag.Flag) []string) (told []object) {
	flags.VisitAll(func(f *pflag.Flag) {
		names := namesOf(f)
		if len(names) == 0 {
			return
		}
		metavar, usage := pflag.UnquoteUsage(f)
		o := object{{"names", names}}
		switch {
		case f.Value.Type() == "bool" || metavar == "":
			o = append(o, field{"argument", "no_argument"})
		case f.NoOptDefVal != "":
			o = append(o, field{"argument", "optional_argument"}, field{"metavar", metavar})
		default:
			o = append(o, field{"argument", "required_argument"}, field{"metavar", metavar})
		}
		told = append(told, append(o, field{"help", usage}))
	})
	return told
}

// ownNames are the names of an option, as they are typed.
func ownNames(f *pflag.Flag) []string {
	if f.Shorthand == "" || isLetter(f) {
		return []string{optionName(f)}
	}
	return []string{"-" + f.Shorthand, optionName(f)}
}

// stockNames are those of them that the stock command has.
func stockNames(f *pflag.Flag) []string {
	return slices.DeleteFunc(ownNames(f), func(name string) bool {
		long, isLong := strings.CutPrefix(name, "--")
		return isLong && !slices.Contains(strings.Fields(stockLongOptions), long) || !isLong && !strings.Contains(stockShortOptions, name[1:])
	})
}

func (a *app) toldVerbs() (told []object) {
	for _, row := range a.verbs() {
		told = append(told, row.told(append([]string{row.name()}, row.aliases...), row.short, row.min))
	}
	help := a.helpCommand()
	return append(told, object{{"names", []string{help.Name()}}, {"abstract", []string{help.Short}}})
}

// toldStockVerbs tells of the verbs of the stock command, each by itself. What
// has another name as well has its text with that one.
func (a *app) toldStockVerbs() (told []object) {
	rows := a.verbs()
	for verb := range strings.FieldsSeq(stockVerbs) {
		i := slices.IndexFunc(rows, func(r verbRow) bool { return r.name() == verb || slices.Contains(r.aliases, verb) })
		row, least := rows[i], rows[i].min
		if stockNeeds[row.name()] {
			least = max(least, 1)
		}
		told = append(told, row.told([]string{verb}, row.short, least))
	}
	return append(told, object{{"names", []string{"help"}}})
}

// told is a verb as data. The numbers count the verb itself, and are left out
// where there is no limit.
func (row verbRow) told(names []string, short string, least int) object {
	o := object{{"names", names}, {"abstract", []string{short}}}
	if least > 0 {
		o = append(o, field{"minArguments", least + 1})
	}
	if row.max >= 0 {
		o = append(o, field{"maxArguments", row.max + 1})
	}
	if row.name() == defaultVerb {
		o = append(o, field{"isDefault", true})
	}
	return o
}
