package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	// codeSpan is a command line in the text.
	codeSpan = regexp.MustCompile("`(?:sudo )?machctl( [^`\n]*)?`")
	// typedLine is one in an example, behind a prompt or indented. Its comment
	// is behind two blanks.
	typedLine = regexp.MustCompile(`(?m)^(?:    |\[root@\S+ ~\]# |# |\$ )(?:sudo )?machctl(?: (.*))?$`)
)

// Every command line in the documents is one that machctl takes.
func TestCommandLinesOfTheDocuments(t *testing.T) {
	t.Parallel()
	documents, err := filepath.Glob("../../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	documents = append(documents, "../../../README.md", "../../../README.ja.md")
	for _, path := range documents {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		lines := append(codeSpan.FindAllStringSubmatch(string(text), -1), typedLine.FindAllStringSubmatch(string(text), -1)...)
		for _, line := range lines {
			words := line[1]
			words, _, _ = strings.Cut(words, "  #")
			if err := takes(wordsOf(words)); err != nil {
				t.Errorf("%s: machctl %s: %v", filepath.Base(path), words, err)
			}
		}
	}
}

// takes reports what is wrong with a command line.
func takes(args []string) error {
	a := newTestApp(false)
	root := a.rootCommand()
	root.InitDefaultHelpCmd()
	cmd, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	if cmd == root && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		return unknownVerb(root, rest[0])
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	if len(rest) == 0 { // a verb that is only named
		return nil
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}

// wordsOf splits a line as a shell does, as far as documents need it. "…" says
// that something is left out.
func wordsOf(line string) (words []string) {
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			words = append(words, part)
			continue
		}
		for _, word := range strings.Fields(part) {
			if word == "|" || word == "&&" {
				return words
			}
			if word != "…" {
				words = append(words, word)
			}
		}
	}
	return words
}

var (
	fenced   = regexp.MustCompile("(?s)```(.*?)```")
	indented = regexp.MustCompile(`(?m)^    \S.*$`)
)

// The two READMEs show the same commands and answers. What is not ASCII is in
// words of either language.
func TestBothReadmesShowTheSame(t *testing.T) {
	t.Parallel()
	shown := func(path string) (lines []string) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range append(fenced.FindAllString(string(text), -1), indented.FindAllString(string(text), -1)...) {
			for line := range strings.Lines(block) {
				line, _, _ = strings.Cut(strings.TrimRight(line, "\n"), "  #")
				line = strings.TrimRight(line, " ")
				if !strings.Contains(line, "…") {
					lines = append(lines, line)
				}
			}
		}
		return lines
	}
	if diff := cmp.Diff(shown("../../../README.md"), shown("../../../README.ja.md")); diff != "" {
		t.Errorf("they differ (-English +Japanese):\n%s", diff)
	}
}
