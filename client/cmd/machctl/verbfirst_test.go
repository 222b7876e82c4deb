package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// An option that takes a value, and how it may be typed before it.
var optionsWithValue = []struct{ typed, set string }{
	{"-n 0", "lines=0"}, {"-n0", "lines=0"}, {"--lines 0", "lines=0"}, {"--lines=0", "lines=0"}, {"--lin 0", "lines=0"},
	{"-p Class", "property=[Class]"}, {"-pClass", "property=[Class]"}, {"-o json", "output=json"}, {"-s WINCH", "signal=WINCH"},
	// The values are verbs.
	{"-n list", ""}, {"-p list", "property=[list]"}, {"--property show", "property=[show]"}, {"-s --", "signal=--"}, {"-o -", "output=-"},
}

// However options are put together before the verb, the verb is found behind
// them, and its arguments are its own.
func TestTheVerbIsFoundBehindOptions(t *testing.T) {
	t.Parallel()
	for _, stock := range []bool{false, true} {
		for _, cluster := range []string{"", "q", "qa", "laq"} {
			for _, option := range optionsWithValue {
				typed := option.typed
				switch {
				case cluster != "" && strings.HasPrefix(typed, "--"):
					typed = "-" + cluster + " " + typed
				case cluster != "":
					typed = "-" + cluster + typed[1:]
				}
				for _, dashes := range []string{"", " --"} {
					line := typed + dashes + " show g1 list"
					verb, args, err := carriedOut(stock, line)
					if option.set == "" {
						if err == nil {
							t.Errorf("%s is carried out", line)
						}
						continue
					}
					if err != nil || verb.Name() != "show" || !slices.Equal(args, []string{"g1", "list"}) {
						t.Errorf("%s is %s of %q: %v", line, verb.Name(), args, err)
						continue
					}
					name, value, _ := strings.Cut(option.set, "=")
					if f := verb.Flags().Lookup(name); f.Value.String() != value {
						t.Errorf("%s: --%s is %q, not %q", line, name, f.Value, value)
					}
					if quiet := verb.Flags().Lookup("quiet").Changed; quiet != strings.Contains(cluster, "q") {
						t.Errorf("%s: --quiet is %v", line, quiet)
					}
				}
			}
		}
	}
}

// What "--" leaves of a line is no option any more.
func TestNothingIsAnOptionBehindDashes(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"-q -- list": "list []", "-- list -a": "list [-a]", "--no-legend -- list --": "list [--]", "-- show -- g1": "show [-- g1]",
		"show -- -a": "show [-a]", "-- shell g1 -- /bin/sh": "shell [g1 -- /bin/sh]", "--": "machctl []", "-q --": "machctl []",
		"-qp list": "machctl []",
		// no verb
		"- list": "", "'' list": "", "-- -- list": "", "-q -": "", "-- --all": "", "-- -a list": "", "list2 -a": "", "-qn 0 lst list": "",
	} {
		for _, stock := range []bool{false, true} {
			verb, args, err := carriedOut(stock, line)
			got := ""
			if err == nil {
				got = fmt.Sprint(verb.Name(), " ", args)
			}
			if got != want {
				t.Errorf("%s is %q, not %q: %v", line, got, want, err)
			}
		}
	}
}

// Called machinectl, shell takes options up to the program.
func TestOptionsStandBehindTheNameOfAShell(t *testing.T) {
	t.Parallel()
	for line, want := range map[string][2]string{
		"shell g1 -- /bin/echo x":                {"[g1 /bin/echo x] ", "[g1 -- /bin/echo x] "},
		"shell g1 --uid=nobody /bin/id --uid":    {"[g1 /bin/id --uid] nobody", "[g1 --uid=nobody /bin/id --uid] "},
		"-q shell g1 --uid nobody -- -x":         {"[g1 -x] nobody", "[g1 --uid nobody -- -x] "},
		"shell --uid=root g1 -q --uid=nobody":    {"[g1] nobody", "[g1 -q --uid=nobody] root"},
		"shell -- g1 -q /bin/true":               {"[g1 -q /bin/true] ", "[g1 -q /bin/true] "},
		"shell g1 -- -- /bin/true":               {"[g1 -- /bin/true] ", "[g1 -- -- /bin/true] "},
		"shell -q --uid nobody g1 /bin/echo -- ": {"[g1 /bin/echo --] nobody", "[g1 /bin/echo --] nobody"},
		"shell g1 --frobnicate /bin/echo":        {"", "[g1 --frobnicate /bin/echo] "},
		"shell g1 --uid":                         {"", "[g1 --uid] "},
		"shell -q":                               {"[] ", "[] "},
	} {
		for i, stock := range []bool{true, false} {
			verb, args, err := carriedOut(stock, line)
			got := ""
			if err == nil {
				got = fmt.Sprint(args, " ", verb.Flags().Lookup("uid").Value)
			}
			if got != want[i] {
				t.Errorf("%s, called machinectl: %v, is %q, not %q: %v", line, stock, got, want[i], err)
			}
		}
	}
}

// carriedOut has a command line carried out up to where its verb would begin.
func carriedOut(stock bool, line string) (verb *cobra.Command, args []string, err error) {
	a := newTestApp(stock)
	a.words = strings.Fields(line)
	for i, word := range a.words {
		if word == "''" {
			a.words[i] = ""
		}
	}
	root := a.rootCommand()
	for _, cmd := range append(root.Commands(), root) {
		check := cmd.Args
		cmd.Args = func(cmd *cobra.Command, given []string) error {
			args = slices.DeleteFunc(slices.Clone(given), func(word string) bool { return word == noVerb })
			if cmd == root {
				return check(cmd, given)
			}
			return nil
		}
		cmd.RunE = func(*cobra.Command, []string) error { return nil }
	}
	verb, err = a.execute(context.Background(), root)
	return verb, args, err
}
