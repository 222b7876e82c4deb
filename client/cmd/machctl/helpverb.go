package main

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// verbHelp tells all of a verb.
func (a *app) verbHelp(cmd *cobra.Command, row verbRow) string {
	var b strings.Builder
	fmt.Fprintf(&b, "machctl %s\n\n%s.\n", row.use, row.short)
	if len(row.aliases) > 0 {
		fmt.Fprintf(&b, "%s is the same.\n", strings.Join(row.aliases, ", "))
	}
	if row.long != "" {
		b.WriteString("\n" + longText(row.long))
	}
	if len(row.examples) > 0 {
		b.WriteString("\nExamples:\n" + examplesText(row.examples))
	}
	if flags := verbFlags(cmd, row); len(flags) > 0 {
		b.WriteString("\nOptions:\n")
		for _, f := range flags {
			b.WriteString(flagEntry(f, ""))
		}
	}
	if row.columns != nil {
		columns := row.columns()
		if columns[0].shown == inObject {
			of := "--json"
			if slices.Contains(strings.Fields(row.options), "format") {
				of = "--json and --format"
			}
			b.WriteString("\nKeys of " + of + ":\n")
		} else {
			b.WriteString("\nColumns for --columns, --sort, --filter and --format, keys of --json:\n")
		}
		for _, c := range columns {
			b.WriteString(entry(c.key, c.text(), 22))
		}
	}
	b.WriteString("\nExit codes:\n")
	for _, code := range row.exitCodes() {
		b.WriteString(entry(code.code, code.text, 9))
	}
	return b.String()
}

// longText fills the paragraphs of a text, except those that are tables, whose
// lines are indented.
func longText(text string) string {
	var paragraphs []string
	for paragraph := range strings.SplitSeq(text, "\n\n") {
		if strings.HasPrefix(paragraph, "  ") {
			paragraphs = append(paragraphs, paragraph+"\n")
		} else {
			paragraphs = append(paragraphs, hanging("", paragraph))
		}
	}
	return strings.Join(paragraphs, "\n")
}

// examplesText puts what examples are good for beside them, or where one has no
// room for that, below them.
func examplesText(examples []example) string {
	width, beside := 0, true
	for _, e := range examples {
		width = max(width, len(e.line))
	}
	for _, e := range examples {
		beside = beside && width+6+utf8.RuneCountInString(e.what) <= helpWidth
	}
	var b strings.Builder
	for _, e := range examples {
		switch {
		case beside:
			b.WriteString(entry(e.line, e.what, width+6))
		case e.what == "":
			b.WriteString("  " + e.line + "\n")
		default:
			b.WriteString("  " + e.line + "\n" + hanging("      ", e.what))
		}
	}
	return b.String()
}

// verbFlags are the options that mean something to a verb, in the order in which
// its row has them. Those that mean the same everywhere are not among them.
func verbFlags(cmd *cobra.Command, row verbRow) []*pflag.Flag {
	var flags []*pflag.Flag
	for _, name := range strings.Fields(row.options) {
		f := cmd.Root().PersistentFlags().Lookup(name)
		if f != nil && !slices.Contains(flags, f) {
			flags = append(flags, f)
		}
	}
	return flags
}
