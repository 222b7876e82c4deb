package main

// What a wrong command line is answered.

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// unknownVerb says that there is no such verb, and which ones look like it, or
// which of the topics that could stand in its place.
func unknownVerb(root *cobra.Command, verb string, topics ...string) error {
	known := topics
	for _, cmd := range root.Commands() {
		known = append(append(known, cmd.Name()), cmd.Aliases...)
	}
	return usagef("there is no verb %q%s", verb, didYouMean(verb, known))
}

// wrongFlag puts what is wrong with an option in our words.
func wrongFlag(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var bare *pflag.ValueRequiredError
	var bad *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "":
		return usagef("there is no option -%s", unknown.GetSpecifiedName())
	case errors.As(err, &unknown):
		name := unknown.GetSpecifiedName()
		near := nearest(name, optionNames(cmd))
		for i := range near {
			near[i] = "--" + near[i]
		}
		return usagef("there is no option --%s%s", name, asIfMeant(near))
	case errors.As(err, &bare):
		value, _ := pflag.UnquoteUsage(bare.GetFlag())
		return usagef("--%s needs a value: --%s=%s", bare.GetFlag().Name, bare.GetFlag().Name, value)
	case errors.As(err, &bad):
		return usagef("--%s: %q is %s", bad.GetFlag().Name, bad.GetValue(), cause(bad))
	}
	return usagef("%s", err)
}

// optionNames are the options there are; those that mean something to the verb
// come first.
func optionNames(cmd *cobra.Command) []string {
	var own, others []string
	means := strings.Fields(cmd.Annotations[annotateOptions])
	cmd.Root().PersistentFlags().VisitAll(func(f *pflag.Flag) {
		if slices.Contains(means, f.Name) {
			own = append(own, f.Name)
		} else {
			others = append(others, f.Name)
		}
	})
	return append(own, others...)
}

// cause says why a value is no good. It goes on with "it is".
func cause(bad *pflag.InvalidValueError) string {
	kind := bad.GetFlag().Value.Type()
	text := bad.Unwrap().Error()
	switch {
	case kind == "bool":
		return "neither true nor false"
	case strings.HasPrefix(kind, "uint") || strings.HasPrefix(kind, "int"):
		return "no number"
	case strings.HasPrefix(text, "not "):
		return "no" + strings.TrimPrefix(strings.TrimPrefix(text, "not"), " a")
	}
	return "no value for it: " + text
}

// oneOf refuses a value that is none of those an option may have.
func oneOf(option, kind, value string, known ...string) error {
	if slices.Contains(known, value) {
		return nil
	}
	return usagef("--%s: there is no %s %q%s", option, kind, value, orOnly(value, known))
}

// orOnly asks whether word was meant for one of those that are known, and
// otherwise says which there are.
func orOnly(word string, known []string) string {
	if text := didYouMean(word, known); text != "" {
		return text
	}
	last := len(known) - 1
	if last < 1 {
		return ", only " + strings.Join(known, "")
	}
	return ", only " + strings.Join(known[:last], ", ") + " and " + known[last]
}
