package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// flakyLimit is how many tests of the whole may fail once and pass when they are
// run again. Real systemds boot on busy machines in them, so one test in some
// thousands meets a moment that nobody has thought of. It is told at the end, to
// be looked into; with more of them something is wrong that comes often.
const flakyLimit = 3

// streamAgain is stream, but what failed is run once more, by the command that
// again returns for some tests of a package. A test that has passed then is
// counted as passed, and told.
func (t *tally) streamAgain(ctx context.Context, again func(pkg string, names []string) []string, label string, argv ...string) error {
	before := len(t.failures)
	err := t.stream(ctx, label, argv...)
	failed := slices.Clone(t.failures[before:])
	tops, ok := worthAgain(failed)
	if err == nil || !ok || ctx.Err() != nil || t.flaky+len(tops) > flakyLimit {
		return err
	}
	wanted := map[string][]string{}
	for id := range tops {
		wanted[id.pkg] = append(wanted[id.pkg], id.name)
	}
	for _, pkg := range slices.Sorted(maps.Keys(wanted)) {
		names := slices.Sorted(slices.Values(wanted[pkg]))
		fmt.Println("=== once more:", strings.Join(names, " "))
		second := newTally()
		if second.stream(ctx, label, again(pkg, names)...) != nil || second.passed < len(names) || len(second.skipped) > 0 {
			return err
		}
	}
	t.forgive(before, len(tops))
	return nil
}

// neverAgain is said by tests whose failure is no matter of time, or after which
// the others of their package did not run.
var neverAgain = []string{"race detected during execution", "panic: ", "fatal error: "}

// worthAgain returns the top-level tests of failures that may be a matter of
// time. What failed outside of a test is none.
func worthAgain(failures []failure) (tops map[test]bool, ok bool) {
	tops = map[test]bool{}
	for _, f := range failures {
		if f.id.name == "" || slices.ContainsFunc(neverAgain, func(text string) bool { return strings.Contains(f.output, text) }) {
			return nil, false
		}
		tops[test{f.id.pkg, f.id.top()}] = true
	}
	return tops, len(tops) > 0
}

// forgive counts the failures from one on as passed.
func (t *tally) forgive(from, tests int) {
	n := len(t.failures) - from
	t.failed -= n
	t.passed += n
	t.flaky += tests
	t.forgiven = append(t.forgiven, t.failures[from:]...)
	t.failures = t.failures[:from:from]
}

// onlyTests is the value of -run for these tests.
func onlyTests(names []string) string {
	return "^(" + strings.Join(names, "|") + ")$"
}
