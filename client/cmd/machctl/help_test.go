package main

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/machd/machd/pkg/machd"
)

// A screen is that of a terminal that nobody has made larger.
const (
	screenRows    = 24
	screenColumns = 80
)

func newTestApp(stock bool) *app {
	a := &app{options: &options{}}
	a.stock = stock
	a.ui = newUI(nil, nil, a.options)
	return a
}

func TestHelpFitsOneScreen(t *testing.T) {
	t.Parallel()
	a := newTestApp(false)
	text := a.helpText(a.rootCommand())
	// The prompt that comes next has a line as well.
	if n := strings.Count(text, "\n"); n > screenRows-1 {
		t.Errorf("it has %d lines:\n%s", n, text)
	}
	for _, row := range a.verbs() {
		if !strings.Contains(text, " "+row.name()) {
			t.Errorf("%s is not in it:\n%s", row.name(), text)
		}
	}
}

func TestHelpIsNoWiderThanAScreen(t *testing.T) {
	t.Parallel()
	for _, stock := range []bool{false, true} {
		a := newTestApp(stock)
		root := a.rootCommand()
		texts := map[string]string{"": a.helpText(root)}
		for _, topic := range a.topics() {
			texts[topic.name] = topic.text(root)
		}
		for _, cmd := range root.Commands() {
			texts[cmd.Name()] = a.helpText(cmd)
		}
		for name, text := range texts {
			for line := range strings.Lines(text) {
				if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > screenColumns {
					t.Errorf("help %s has a line of %d columns: %s", name, n, line)
				}
			}
		}
	}
}

// A verb that comes later has all that help, completion and the manual need.
func TestVerbsAreDescribed(t *testing.T) {
	t.Parallel()
	a := newTestApp(false)
	root := a.rootCommand()
	for _, row := range a.verbs() {
		name := row.name()
		switch {
		case row.short == "" || strings.HasSuffix(row.short, "."):
			t.Errorf("%s: %q is no sentence without a full stop", name, row.short)
		case row.long == "" && len(row.examples) == 0:
			t.Errorf("%s: there is neither a text nor an example", name)
		case row.max != 0 && len(row.words) == 0:
			t.Errorf("%s: nobody says what its arguments are", name)
		}
		for option := range strings.FieldsSeq(row.options) {
			if root.PersistentFlags().Lookup(option) == nil {
				t.Errorf("%s: there is no option --%s", name, option)
			}
		}
		for _, e := range row.examples {
			if !strings.Contains(e.line, "machctl "+name) {
				t.Errorf("%s: %q is no example of it", name, e.line)
			}
		}
		options := strings.Fields(row.options)
		// What show prints are properties, whose names are the bus's; of an
		// export --format is the compression.
		structured := slices.Contains(options, "json") && slices.Contains(options, "format") && !strings.HasPrefix(name, "show")
		if structured && row.columns == nil {
			t.Errorf("%s: nobody says which keys it has", name)
		}
		if row.columns == nil || row.columns()[0].shown == inObject || row.columns()[0].list == "things to be lost" {
			continue
		}
		for option := range strings.FieldsSeq(listOptions) {
			if !slices.Contains(options, option) {
				t.Errorf("%s: it has columns, but not --%s", name, option)
			}
		}
	}
}

func TestColumnsAreDescribed(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	for _, row := range newTestApp(false).verbs() {
		if row.columns == nil {
			continue
		}
		for _, c := range row.columns() {
			used[c.key], used[c.list+"."+c.key] = true, true
			if c.text() == "" {
				t.Errorf("%s: nobody says what the column %s is", row.name(), c.key)
			}
		}
	}
	levels := strings.Join([]string{machd.LevelOK, machd.LevelWarning}, ", ") + " or " + machd.LevelError
	if text := columnTexts["level"]; !strings.HasSuffix(text, ": "+levels) {
		t.Errorf("level is %q, but there are %s", text, levels)
	}
	for key := range columnTexts {
		if !used[key] {
			t.Errorf("no list has a column %s", key)
		}
	}
}
