package main

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// completeVerb is what the scripts of the shells run: the words of the command
// line up to the cursor follow, the last one as far as it is typed.
const completeVerb = "__complete"

// completeTimeout is how long somebody who pressed the key waits at most; in tests
// longer.
var completeTimeout = 700 * time.Millisecond

// A candidate is one way to go on.
type candidate struct {
	word string
	what string // in a few words, for shells that show it
}

// A fallback is what the shell itself completes.
type fallback string

const (
	nothingElse fallback = "none"
	files       fallback = "files"
	directories fallback = "directories"
	goesOn      fallback = "open" // no space follows, as the word is not whole
)

// candidates are what may stand at the cursor.
type candidates struct {
	list []candidate
	rest fallback
}

// texts are candidates that say what they are by themselves.
func texts(rest fallback, words ...string) candidates {
	c := candidates{rest: rest}
	for _, text := range words {
		c.list = append(c.list, candidate{word: text})
	}
	return c
}

// A line is a command line that somebody is about to write.
type line struct {
	app     *app
	ctx     context.Context
	root    *cobra.Command
	verb    *cobra.Command // nil before there is one
	row     verbRow
	args    []string // of the verb
	dashed  bool     // "--" stands before the cursor
	plain   bool     // no options may come any more
	pending *pflag.Flag
	current string // the word at the cursor, as far as it is typed
}

// complete prints what may stand where the cursor is, and nothing else whatever
// happens: each with its description behind a tab, and then, behind a colon,
// what the shell is to add. Nobody is asked for a password.
func (a *app) complete(words []string) {
	if len(words) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), completeTimeout)
	defer cancel()
	done := make(chan candidates, 1)
	go func() { done <- a.candidatesFor(ctx, words) }()
	var c candidates
	select {
	case c = <-done:
	case <-ctx.Done():
	}
	if c.rest == "" {
		c.rest = nothingElse
	}
	var b strings.Builder
	for _, one := range c.list {
		if strings.ContainsFunc(one.word, unicode.IsControl) {
			continue // a file's name may have such, a line cannot
		}
		fmt.Fprintf(&b, "%s\t%s\n", one.word, printable(one.what))
	}
	a.ui.print(b.String() + ":" + string(c.rest) + "\n")
}

// candidatesFor reads the line and returns those that begin as the word at the
// cursor does.
func (a *app) candidatesFor(ctx context.Context, words []string) candidates {
	last := len(words) - 1
	l := &line{app: a, ctx: ctx, root: a.rootCommand(), current: words[last]}
	l.root.InitDefaultHelpCmd()
	a.noAskPassword, a.quiet = true, true // whatever the options' defaults are
	for _, word := range words[:last] {
		if !l.read(word) {
			return candidates{}
		}
	}
	typed := l.current
	var c candidates
	name, value, assigned := strings.Cut(l.current, "=")
	switch {
	case l.pending != nil:
		c = l.optionValue(l.pending)
	case !l.plain && assigned && strings.HasPrefix(name, "--"):
		typed, l.current = value, value
		if f := l.long(strings.TrimPrefix(name, "--")); f != nil {
			c = l.optionValue(f)
		}
	case !l.plain && strings.HasPrefix(l.current, "-"):
		c = l.optionCandidates()
	case l.verb == nil:
		c = l.verbCandidates()
	default:
		c = l.argument()
	}
	return c.beginning(typed)
}

// beginning leaves those that begin as is typed.
func (c candidates) beginning(typed string) candidates {
	kept := candidates{rest: c.rest}
	for _, one := range c.list {
		if strings.HasPrefix(one.word, typed) {
			kept.list = append(kept.list, one)
		}
	}
	return kept
}

// read takes a word before the cursor, and reports whether it makes sense.
func (l *line) read(word string) bool {
	switch {
	case l.pending != nil:
		l.learn(l.pending, word)
		l.pending = nil
	case l.plain:
		l.args = append(l.args, word)
	case word == "--":
		l.plain, l.dashed = true, true
	case strings.HasPrefix(word, "--"):
		name, value, assigned := strings.Cut(word[2:], "=")
		f := l.long(name)
		switch {
		case f == nil:
		case assigned:
			l.learn(f, value)
		case f.NoOptDefVal == "":
			l.pending = f
		default:
			l.learn(f, f.NoOptDefVal)
		}
	case len(word) > 1 && word[0] == '-':
		l.readShort(word[1:])
	case l.verb == nil:
		return l.readVerb(word)
	default:
		l.args = append(l.args, word)
		l.plain = commandFollows(l.row)
	}
	return true
}

func (l *line) readVerb(word string) bool {
	verb, _, err := l.root.Find([]string{word})
	if err != nil || verb == l.root {
		return false
	}
	l.verb = verb
	l.row, _ = l.app.rowOf(verb)
	return true
}

// readShort reads options of one letter.
func (l *line) readShort(letters string) {
	for i, letter := range letters {
		f := l.short(string(letter))
		if f == nil || f.NoOptDefVal != "" {
			continue
		}
		if i == len(letters)-1 {
			l.pending = f
		}
		return // what follows is its value
	}
}

// commandFollows reports whether what follows the name belongs to a command.
func commandFollows(row verbRow) bool {
	return len(row.words) > 0 && row.words[0] == wordUserAt
}

func (l *line) long(name string) *pflag.Flag { return l.root.PersistentFlags().Lookup(name) }

// short is an option of one letter, which is another one behind some verbs.
func (l *line) short(letter string) *pflag.Flag {
	if l.verb != nil {
		if f := l.verb.Flags().ShorthandLookup(letter); f != nil {
			return f
		}
	}
	return l.root.PersistentFlags().ShorthandLookup(letter)
}

// minded are the options that completing minds: those that say whom we speak to,
// and what of.
var minded = setOf("user system host machine runner vm all inward")

func (l *line) learn(f *pflag.Flag, value string) {
	if minded[f.Name] {
		_ = l.root.PersistentFlags().Set(f.Name, value)
	}
}
