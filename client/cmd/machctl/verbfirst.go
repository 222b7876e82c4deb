package main

// Which word of a command line is the verb depends on which words are values of
// options. pflag knows that; cobra, which looks for the verb, only guesses.

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// noVerb is the first word for cobra where there is no verb that it knows. On a
// command line no word can be so.
const noVerb = "\x00"

// verbFirst puts the verb before the options, where cobra cannot miss it.
func (a *app) verbFirst(root *cobra.Command, words []string) ([]string, error) {
	root.InitDefaultHelpCmd()
	f := root.PersistentFlags()
	n, ended, err := leadingOptions(f, words)
	options, rest := words[:n:n], words[n:]
	if ended {
		rest = rest[1:]
	}
	var verb *cobra.Command
	if err == nil && len(rest) > 0 {
		verb = verbNamed(root, rest[0])
	}
	switch {
	case err != nil: // parsing it says what is wrong
	case verb == nil:
		words = append([]string{noVerb}, words...)
	case ended:
		words = slices.Concat(rest[:1], options, []string{"--"}, rest[1:])
	case a.stock && verb.Name() == "shell":
		words = append(rest[:1:1], programLast(f, options, rest[1:])...)
	default:
		words = slices.Concat(rest[:1], options, rest[1:])
	}
	if a.stock && (verb == nil || slices.Contains(strings.Fields(stockVerbs), words[0])) {
		return stockLine(f, words)
	}
	return words, nil
}

// stockAnswers are options that machinectl answers as soon as it reads them.
var stockAnswers = setOf("help version introspect-cli")

// stockLine reads a line with a verb of machinectl's for what it has to say
// before the line is whole. Its letters are its own; long options may be ours.
func stockLine(f *pflag.FlagSet, words []string) ([]string, error) {
	for i := 0; i < len(words) && words[i] != "--"; {
		word := words[i]
		if !isOption(word) {
			i++
			continue
		}
		n, flags, err := optionAt(f, words[i:])
		for _, flag := range flags {
			long := strings.HasPrefix(word, "--")
			switch {
			case !long && !strings.Contains(stockShortOptions, flag.Shorthand):
				return nil, stocked(usagef("there is no option -%s", flag.Shorthand), "machinectl: unrecognized option '-%s'", flag.Shorthand)
			case !stockAnswers[flag.Name]:
			case long && strings.Contains(word, "="):
				return nil, stocked(usagef("--%s takes no value", flag.Name), "machinectl: option '--%s' doesn't allow an argument", flag.Name)
			default:
				return append(words[:i:i], "--"+flag.Name), nil
			}
		}
		if err != nil {
			return words, nil // parsing it says what is wrong
		}
		i += n
	}
	return words, nil
}

// verbNamed returns nil if there is no such verb.
func verbNamed(root *cobra.Command, word string) *cobra.Command {
	for _, cmd := range root.Commands() {
		if cmd.Name() == word || cmd.HasAlias(word) {
			return cmd
		}
	}
	return nil
}

// leadingOptions returns how many words are options, with their values, before
// the first that is none, and whether that is "--".
func leadingOptions(f *pflag.FlagSet, words []string) (n int, ended bool, err error) {
	for n < len(words) && isOption(words[n]) {
		taken, _, err := optionAt(f, words[n:])
		if err != nil {
			return n, false, err
		}
		n += taken
	}
	return n, n < len(words) && words[n] == "--", nil
}

func isOption(word string) bool { return len(word) > 1 && word[0] == '-' && word != "--" }

// optionAt returns how many words the option takes that is the first of them,
// and what it is: several options, if they are of one letter.
func optionAt(f *pflag.FlagSet, words []string) (n int, flags []*pflag.Flag, err error) {
	for n = 1; ; n++ {
		flags = nil
		err = f.ParseAll(words[:n], func(flag *pflag.Flag, _ string) error {
			flags = append(flags, flag)
			return nil
		})
		var bare *pflag.ValueRequiredError
		if n == min(2, len(words)) || !errors.As(err, &bare) {
			return n, flags, err
		}
	}
}

// programLast has the words behind shell in the order of machctl. machinectl
// takes options behind NAME, too, up to the program.
func programLast(f *pflag.FlagSet, options, words []string) []string {
	n, ended, err := leadingOptions(f, words)
	if err != nil || ended || n == len(words) {
		return slices.Concat(options, words)
	}
	name, behind := words[n], words[n+1:]
	options = slices.Concat(options, words[:n])
	n, ended, err = leadingOptions(f, behind)
	if err != nil {
		return slices.Concat(options, behind) // parsing it says what is wrong
	}
	program := behind[n:]
	if ended {
		program = program[1:]
	}
	return slices.Concat(options, behind[:n], []string{"--", name}, program)
}
