package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/machd/machd/test/mdoc"
)

var update = flag.Bool("update", false, "write the manual and the table of keys anew")

const (
	manualFile = "../../../man/machctl.1"
	keysFile   = "../../../docs/keys.md"
)

// The manual says what the tables say.
func TestManual(t *testing.T) {
	t.Parallel()
	a := newTestApp(false)
	wantFile(t, manualFile, a.manual(a.rootCommand()))
}

// So does the page of keys. It changes where a key is added; a program relies on
// those that are there.
func TestKeys(t *testing.T) {
	t.Parallel()
	a := newTestApp(false)
	_ = a.rootCommand() // gives options their values
	wantFile(t, keysFile, a.keysDocument())
}

func wantFile(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s is not what the tables say; run the test with -update (-file +now):\n%s", path, diff)
	}
}

// The formatter has nothing to say against any page but that it does not know
// other pages.
func TestManualsAreWellFormed(t *testing.T) {
	t.Parallel()
	out, _ := exec.Command("sh", "-c", "mandoc -Tlint -Wwarning ../../../man/*.[158] 2>&1 | grep -v 'outdated mandoc.db'").Output()
	if len(out) > 0 {
		t.Errorf("mandoc says\n%s", out)
	}
}

// manual is machctl(1).
func (a *app) manual(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString(mdoc.Head("machctl", 1, manualDate, "list, start, stop and enter containers and virtual machines"))
	b.WriteString(manualIntro)
	b.WriteString(".Sh VERBS\n")
	for _, group := range groups {
		fmt.Fprintf(&b, ".Ss %s\n.Bl -tag -width Ds\n", group.Title)
		for _, row := range a.verbs() {
			if row.group == group.ID {
				verbManual(&b, root, row)
			}
		}
		if group.ID == groupHelp {
			b.WriteString(".It " + mdoc.Word("help [VERB | TOPIC]") + "\nTell more about a verb, or one of the topics\n")
			b.WriteString(strings.Join(a.topicNames(), ", ") + ".\n")
		}
		b.WriteString(".El\n")
	}
	b.WriteString(".Sh OPTIONS\n" + mdoc.Text("They stand anywhere on the line; behind shell, exec and run, what follows the name belongs to the command. "+
		"Options of machinectl(1) are taken by all verbs. The help of a verb lists those that mean something to it."))
	b.WriteString(".Bl -tag -width Ds\n")
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) {
		_, usage := pflag.UnquoteUsage(f)
		name := longOption(f)
		if f.Shorthand != "" && !isLetter(f) {
			name = "-" + f.Shorthand + ", " + name
		}
		b.WriteString(".It " + mdoc.Literal(name) + "\n" + mdoc.Text(usage+"."))
	})
	b.WriteString(".El\n" + manualOutput)
	for _, l := range a.lists() {
		b.WriteString(".Ss " + mdoc.Escape(l.verbs) + "\n.Bl -tag -width Ds -compact\n")
		for _, c := range l.columns {
			b.WriteString(".It " + mdoc.Literal(c.key) + "\n" + mdoc.Text(c.text()))
		}
		b.WriteString(".El\n")
	}
	b.WriteString(manualEnvironment + ".Sh EXIT STATUS\n" + exitManual(exitTexts))
	b.WriteString(".Pp\n" + mdoc.Text(commandExitIntro) + exitManual(commandExitTexts))
	b.WriteString(".Pp\n" + mdoc.Text(exitNotes))
	return b.String() + manualTail
}

func verbManual(b *strings.Builder, root *cobra.Command, row verbRow) {
	b.WriteString(".It " + mdoc.Literal(row.use) + "\n" + mdoc.Text(row.short+"."))
	if len(row.aliases) > 0 {
		b.WriteString(mdoc.Text(strings.Join(row.aliases, ", ") + " is the same."))
	}
	if row.long != "" {
		b.WriteString(".Pp\n" + mdoc.Paragraphs(row.long))
	}
	var options []string
	for _, f := range verbFlags(root, row) {
		if !shownByMost[f.Name] {
			options = append(options, optionName(f))
		}
	}
	if len(options) > 0 {
		b.WriteString(".Pp\n" + mdoc.Text("Options: "+strings.Join(options, ", ")+"."))
	}
	if len(row.examples) > 0 {
		var lines strings.Builder
		for _, e := range row.examples {
			lines.WriteString(e.line + "\n")
			if e.what != "" {
				lines.WriteString("    # " + e.what + "\n")
			}
		}
		b.WriteString(mdoc.Display(lines.String()))
	}
}

// shownByMost are options that the manual does not repeat for each verb.
var shownByMost = setOf(listOptions + acting)

func exitManual(texts []exitText) string {
	var b strings.Builder
	b.WriteString(".Bl -tag -width Ds -compact\n")
	for _, t := range texts {
		b.WriteString(".It " + mdoc.Literal(t.code) + "\n" + mdoc.Text(t.text))
	}
	return b.String() + ".El\n"
}

// A documentedList is the columns of the verbs that print such a list.
type documentedList struct {
	verbs   string
	columns []columnText
}

func (a *app) lists() []documentedList {
	var lists []documentedList
	for _, row := range a.verbs() {
		if row.columns == nil {
			continue
		}
		columns := row.columns()
		i := slices.IndexFunc(lists, func(l documentedList) bool { return slices.Equal(l.columns, columns) })
		if i >= 0 {
			lists[i].verbs += ", " + row.name()
			continue
		}
		lists = append(lists, documentedList{row.name(), columns})
	}
	return lists
}

// keysDocument is docs/keys.md.
func (a *app) keysDocument() string {
	var b strings.Builder
	b.WriteString(keysIntro)
	for _, l := range a.lists() {
		head := "| key | | in the table |\n|---|---|---|\n"
		if l.columns[0].shown == inObject {
			head = "| key | |\n|---|---|\n"
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s", l.verbs, head)
		for _, c := range l.columns {
			if c.shown == inObject {
				fmt.Fprintf(&b, "| `%s` | %s |\n", c.key, c.text())
				continue
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", c.key, c.text(), []string{"always", "with `-o wide`", "when asked"}[c.shown])
		}
	}
	return b.String()
}

const keysIntro = `# What machctl prints for programs

` + "`--json`" + ` prints an array of objects, an empty one if there is nothing, with the keys
below; ` + "`--format`, `--columns`, `--sort` and `--filter`" + ` take the same keys. They stay
as they are; there may be more of them. What is unknown, or is not there, is
` + "`null`" + `. Times are as of RFC 3339 with the offset from UTC, spans are numbers of
seconds, sizes are numbers of bytes, and what there may be several of is an array.
What is not said to be anything else is a string.

` + "`show` has the names that properties have on the bus." + `
` + "`-o json`" + ` of a list is what machinectl prints, key by key.

*This page is made of the program's tables. Do not edit it.*
`
