package mdoc

import (
	"regexp"
	"strings"
)

var (
	codeSpan = regexp.MustCompile("`([^`]*)`")
	link     = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// FromMarkdown makes of a document what follows a page's head: its sections,
// paragraphs and tables of two or three columns. The title and what is in
// italics are left out.
func FromMarkdown(document string) string {
	var b strings.Builder
	begun := false // something stands below the last heading
	for block := range strings.SplitSeq(strings.TrimSpace(document), "\n\n") {
		block = strings.TrimSpace(block)
		switch {
		case block == "", strings.HasPrefix(block, "# "), strings.HasPrefix(block, "*"):
			continue
		case strings.HasPrefix(block, "### "):
			b.WriteString(".Ss " + Escape(plain(block[4:])) + "\n")
			begun = false
			continue
		case strings.HasPrefix(block, "## "):
			b.WriteString(".Sh " + strings.ToUpper(Escape(plain(block[3:]))) + "\n")
			begun = false
			continue
		case strings.HasPrefix(block, "|"):
			b.WriteString(tableOf(block))
			begun = true
			continue
		}
		if begun {
			b.WriteString(".Pp\n")
		}
		begun = true
		if code := codeSpan.FindString(block); code == block {
			b.WriteString(".Bd -ragged -compact\n" + Text(plain(block)) + ".Ed\n")
			continue
		}
		b.WriteString(Text(plain(block)))
	}
	return b.String()
}

// plain leaves out what is only for Markdown.
func plain(text string) string {
	return codeSpan.ReplaceAllString(link.ReplaceAllString(text, "$1"), "$1")
}

// tableOf makes a list of a table, whose last column says what the others are.
func tableOf(block string) string {
	const escaped = "\x00"
	var b strings.Builder
	b.WriteString(".Bl -tag -width Ds\n")
	for i, row := range strings.Split(strings.ReplaceAll(block, `\|`, escaped), "\n") {
		if i < 2 {
			continue // its head
		}
		var cells []string
		for cell := range strings.SplitSeq(strings.Trim(row, "|"), "|") {
			cells = append(cells, strings.TrimSpace(plain(strings.ReplaceAll(cell, escaped, "|"))))
		}
		last := len(cells) - 1
		b.WriteString(".It " + Literal(strings.Join(cells[:last], "  ")) + "\n" + Text(cells[last]))
	}
	return b.String() + ".El\n"
}
