// Package mdoc writes manual pages, for the tests that compare them with what
// the programs' tables say. It knows the language mdoc, and no page.
package mdoc

import (
	"fmt"
	"regexp"
	"strings"
)

// lineWidth is where lines of the source are broken, in bytes.
const lineWidth = 78

// sentenceEnd is where a line of the source has to end, for formatters that set
// sentences apart.
var sentenceEnd = regexp.MustCompile(`([.?!][)"]?)\s+([A-Z"(\-^$~./])`)

// option is an option in a text, whose dashes must stay dashes.
var option = regexp.MustCompile(`(^|[\s("=])(--?)([A-Za-z])`)

// Escape makes text stand for itself.
func Escape(text string) string {
	text = strings.ReplaceAll(text, `\`, `\e`)
	text = strings.NewReplacer("…", "...", "→", `\(->`, "—", `\(em`, "|", `\*(Ba`).Replace(text)
	return option.ReplaceAllStringFunc(text, func(s string) string { return strings.ReplaceAll(s, "-", `\-`) })
}

// Word is text as one argument of a macro.
func Word(text string) string {
	return `"` + strings.ReplaceAll(Escape(text), `"`, `\(dq`) + `"`
}

// Literal is text as one argument of a macro, in which each dash is one.
func Literal(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(Word(text), `\-`, "-"), "-", `\-`)
}

// Text fills text into lines of the source, each sentence on lines of its own.
func Text(text string) string {
	text = Escape(strings.Join(strings.Fields(text), " "))
	var b strings.Builder
	for sentence := range strings.SplitSeq(sentenceEnd.ReplaceAllString(text, "$1\n$2"), "\n") {
		line := ""
		for _, word := range strings.Fields(sentence) {
			if line != "" && len(line)+1+len(word) > lineWidth {
				b.WriteString(guarded(line))
				line = ""
			}
			if line != "" {
				line += " "
			}
			line += word
		}
		if line != "" {
			b.WriteString(guarded(line))
		}
	}
	return b.String()
}

// guarded is a line of text that is not taken for a macro.
func guarded(line string) string {
	if line[0] == '.' || line[0] == '\'' {
		line = `\&` + line
	}
	return line + "\n"
}

// Paragraphs is text whose paragraphs are apart by an empty line. One that is
// indented stays as it is.
func Paragraphs(text string) string {
	var b strings.Builder
	for i, paragraph := range strings.Split(text, "\n\n") {
		if strings.HasPrefix(paragraph, "  ") {
			b.WriteString(Display(paragraph))
			continue
		}
		if i > 0 {
			b.WriteString(".Pp\n")
		}
		b.WriteString(Text(paragraph))
	}
	return b.String()
}

// Head is the beginning of a page. Its date is that of the description, which
// changes with what it describes.
func Head(name string, section int, date, what string) string {
	return fmt.Sprintf(".\\\" Made of the program's tables. Do not edit it.\n.Dd %s\n.Dt %s %d\n.Os\n.Sh NAME\n.Nm %s\n.Nd %s\n",
		date, strings.ToUpper(name), section, name, what)
}

// Display is lines that stay as they are.
func Display(lines string) string {
	var b strings.Builder
	b.WriteString(".Bd -literal -offset indent\n")
	for line := range strings.Lines(lines) {
		line = strings.TrimRight(strings.ReplaceAll(line, `\`, `\e`), "\n")
		line = strings.ReplaceAll(strings.ReplaceAll(line, "…", "..."), "-", `\-`)
		if line == "" {
			b.WriteString("\n")
			continue
		}
		b.WriteString(guarded(line))
	}
	return b.String() + ".Ed\n"
}
