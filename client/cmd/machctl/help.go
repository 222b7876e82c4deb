package main

import (
	"cmp"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// annotateOptions names the options that mean something to a verb.
const annotateOptions = "options"

// helpWidth is how wide help is, in columns of the terminal.
const helpWidth = 80

// A topic is what help knows besides verbs.
type topic struct {
	name, what string
	text       func(root *cobra.Command) string
}

func (a *app) topics() []topic {
	return []topic{
		{"verbs", "all verbs, a line each", a.verbsHelp},
		{"options", "all options", a.optionsHelp},
		{"exit-codes", "what exit codes mean", func(*cobra.Command) string { return exitCodesHelp() }},
	}
}

func (a *app) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [VERB | TOPIC]",
		Short: "Tell more about a verb, or a topic",
		Args:  func(cmd *cobra.Command, _ []string) error { return a.check(cmd) },
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				a.ui.page(a.helpText(cmd.Root()))
				return nil
			}
			for _, t := range a.topics() {
				if t.name == args[0] {
					a.ui.page(t.text(cmd.Root()))
					return nil
				}
			}
			verb, _, err := cmd.Root().Find(args[:1])
			if err != nil || verb == cmd.Root() {
				return unknownVerb(cmd.Root(), args[0], a.topicNames()...)
			}
			a.ui.page(a.helpText(verb))
			return nil
		},
	}
}

// helpText tells of machctl, or of a verb.
func (a *app) helpText(cmd *cobra.Command) string {
	row, ok := a.rowOf(cmd)
	switch {
	case ok:
		return a.verbHelp(cmd, row)
	case cmd.HasParent():
		return a.helpVerbHelp(cmd)
	case a.stock:
		return a.stockHelp(cmd)
	}
	return a.rootHelp()
}

// name is the verb itself.
func (row verbRow) name() string {
	name, _, _ := strings.Cut(row.use, " ")
	return name
}

// rowOf returns the row that cmd was made of.
func (a *app) rowOf(cmd *cobra.Command) (verbRow, bool) {
	for _, row := range a.verbs() {
		if row.name() == cmd.Name() {
			return row, true
		}
	}
	return verbRow{}, false
}

// rootHelp fits one screen of 24 lines.
func (a *app) rootHelp() string {
	var b strings.Builder
	b.WriteString("machctl [OPTION…] VERB …      containers and virtual machines of this host\n\n")
	for _, group := range groups {
		var verbs []string
		for _, row := range a.verbs() {
			if row.group == group.ID {
				verbs = append(verbs, row.name())
			}
		}
		if group.ID == groupHelp {
			verbs = append(verbs, "help")
		}
		if len(verbs) > 0 {
			b.WriteString(hanging(fmt.Sprintf("  %-15s", group.Title), strings.Join(verbs, " ")))
		}
	}
	b.WriteString(`
  --json  --format=TEMPLATE  --columns=…  --sort=…  --filter=…  -o wide
                 how lists are shown, and what of them
  -H [USER@]HOST  -M MACHINE  --user
                 whose machines: of another host, in a machine, or your own

  machctl help VERB        what it does, examples, options, exit codes
  machctl help ` + strings.Join(a.topicNames(), " | ") + `
Without a verb, machctl lists machines. More: man machctl.
`)
	return b.String()
}

func (a *app) topicNames() (names []string) {
	for _, t := range a.topics() {
		names = append(names, t.name)
	}
	return names
}

// verbsHelp is a line for each verb.
func (a *app) verbsHelp(*cobra.Command) string {
	var b strings.Builder
	for i, group := range groups {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(group.Title + ":\n")
		for _, row := range a.verbs() {
			if row.group == group.ID {
				b.WriteString(entry(strings.Join(append([]string{row.name()}, row.aliases...), ", "), row.short, 20))
			}
		}
	}
	return b.String()
}

// helpVerbHelp tells of help itself, which is in no table.
func (a *app) helpVerbHelp(cmd *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "machctl %s\n\n%s.\n\nTopics:\n", cmd.Use, cmd.Short)
	for _, t := range a.topics() {
		b.WriteString(entry(t.name, t.what, 20))
	}
	return b.String()
}

// optionsHelp is all options, with the verbs to which they mean something where
// these are few.
func (a *app) optionsHelp(root *cobra.Command) string {
	const few = 3
	var every, some strings.Builder
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) {
		var verbs []string
		for _, row := range a.verbs() {
			if slices.Contains(strings.Fields(row.options), f.Name) {
				verbs = append(verbs, row.name())
			}
		}
		if everyVerb[f.Name] || len(verbs) == 0 {
			every.WriteString(flagEntry(f, ""))
			return
		}
		of := ""
		if len(verbs) <= few {
			of = " (" + strings.Join(verbs, ", ") + ")"
		}
		some.WriteString(flagEntry(f, of))
	})
	return "Options, anywhere on the line. With every verb:\n" + every.String() +
		"\nWith the verbs whose help lists them:\n" + some.String()
}

// flagEntry is an option as help shows it, with more behind its text.
func flagEntry(f *pflag.Flag, more string) string {
	_, usage := pflag.UnquoteUsage(f)
	short := "    "
	switch {
	case isLetter(f):
		short = ""
	case f.Shorthand != "":
		short = "-" + f.Shorthand + ", "
	}
	return entry(short+longOption(f), usage+more, 26)
}

// isLetter reports whether an option is a letter alone: it has a long name only
// because there has to be one.
func isLetter(f *pflag.Flag) bool { return f.Name == f.Shorthand }

// optionName is an option as it is typed, by its long name if it has one.
func optionName(f *pflag.Flag) string {
	if isLetter(f) {
		return "-" + f.Shorthand
	}
	return "--" + f.Name
}

// longOption is an option with the name of its value.
func longOption(f *pflag.Flag) string {
	value, _ := pflag.UnquoteUsage(f)
	switch {
	case value != "" && f.NoOptDefVal != "" && f.Value.Type() != "bool":
		return optionName(f) + "[=" + value + "]"
	case value != "":
		return optionName(f) + "=" + value
	}
	return optionName(f)
}

// entry is a word of help and its text, which begins at column.
func entry(word, text string, column int) string {
	if utf8.RuneCountInString(word)+4 > column {
		return "  " + word + "\n" + hanging(strings.Repeat(" ", column), text)
	}
	return hanging(fmt.Sprintf("  %-*s", column-2, word), text)
}

// hanging fills text into lines of the width of help. The first one begins with
// the words before it, and the others under its text.
func hanging(before, text string) string {
	if text == "" {
		return strings.TrimRight(before, " ") + "\n"
	}
	indent := utf8.RuneCountInString(before)
	var b strings.Builder
	line, used := before, indent
	for i, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
			line, used = line+word, used+n
		case used+1+n > helpWidth:
			b.WriteString(line + "\n")
			line, used = strings.Repeat(" ", indent)+word, indent+n
		default:
			line, used = line+" "+word, used+1+n
		}
	}
	return b.String() + line + "\n"
}

// version is set by the build.
var version string

func versionText() string {
	return "machctl " + cmp.Or(programVersion(), "(unknown version)") + "\n"
}

// programVersion is "" if nobody knows it.
func programVersion() string {
	if info, ok := debug.ReadBuildInfo(); version == "" && ok {
		return info.Main.Version
	}
	return version
}
