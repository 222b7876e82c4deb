package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// stockSections are those of the stock command's help, with its verbs in its
// order, as programs that read it know them.
var stockSections = []struct{ title, verbs string }{
	{"Machine Commands", "list status show start login shell enable disable poweroff reboot terminate kill pause resume " +
		"copy-to copy-from bind bind-volume unbind-volume"},
	{"Image Commands", "list-images image-status show-image edit cat clone rename read-only remove set-limit clean"},
	{"Image Transfer Commands", "pull-tar pull-raw import-tar import-raw import-fs export-tar export-raw list-transfers cancel-transfer"},
}

// stockHelp is the help of machinectl: its verbs and its options only.
func (a *app) stockHelp(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("machinectl [OPTIONS...] COMMAND ...\n\n" +
		"Containers and virtual machines of this host, as machctl under another name.\n")
	rows := a.verbs()
	for _, section := range stockSections {
		b.WriteString("\n" + section.title + ":\n")
		for verb := range strings.FieldsSeq(section.verbs) {
			i := slices.IndexFunc(rows, func(r verbRow) bool { return r.name() == verb || slices.Contains(r.aliases, verb) })
			if i < 0 {
				continue
			}
			_, arguments, _ := strings.Cut(rows[i].use, " ")
			b.WriteString(entry(strings.TrimSpace(verb+" "+stockArguments(arguments)), rows[i].short, 30))
		}
	}
	b.WriteString("\nOptions:\n")
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) {
		if stockOptions[f.Name] || f.Name == "help" || f.Name == "version" {
			b.WriteString(flagEntry(f, ""))
		}
	})
	return b.String() + "\nmachctl(1) is the manual, and \"machctl help\" tells what there is besides.\n"
}

// stockArguments spells arguments without letters that are not ASCII's.
func stockArguments(arguments string) string {
	arguments, _, _ = strings.Cut(arguments, " [-- ")
	return strings.ReplaceAll(arguments, "…", "...")
}
