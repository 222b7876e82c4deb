package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
)

const (
	// These have tests for a booted host only, the third for one with libvirt, the
	// fourth for one with firewalls, the last for one that is a virtual machine.
	// What that has for 262 is no stage: programs in it wait for others that are
	// interpreted, and give up where the machine is slow.
	bootedTree  = "test/booted"
	foreignTree = "test/foreign"
	vmTree      = "test/vm"
	networkTree = "test/network"
	kernelTree  = "test/kernel"
	// fuzzTime is a smoke test. A real search is go test -fuzz without it.
	fuzzTime = "3s"
)

func unitTests(ctx context.Context, t *tally) error {
	out, err := exec.CommandContext(ctx, "go", "list", "./...").Output()
	if err != nil {
		return t.one("go list", fmt.Errorf("cannot list the packages: %w", err))
	}
	packages := slices.DeleteFunc(strings.Fields(string(out)), func(path string) bool {
		return slices.ContainsFunc([]string{bootedTree, foreignTree, vmTree, networkTree, kernelTree}, func(tree string) bool {
			return strings.Contains(path+"/", "/"+tree+"/")
		})
	})
	again := func(pkg string, names []string) []string {
		return []string{"go", "test", "-race", "-json", "-run=" + onlyTests(names), pkg}
	}
	return t.streamAgain(ctx, again, "", append([]string{"go", "test", "-race", "-shuffle=on", "-json"}, packages...)...)
}

// fuzzTargets runs each target that the tests have met with their seeds.
func fuzzTargets(ctx context.Context, t *tally) error {
	var errs []error
	for _, id := range slices.SortedFunc(maps.Keys(t.fuzz), byName) {
		fmt.Println(id.name)
		errs = append(errs, t.fuzzTarget(ctx, id))
	}
	return errors.Join(errs...)
}

// fuzzTarget runs one target, again if Go took the end of its time for a
// failure. Go before 1.27 does that now and then: https://go.dev/issue/75804.
func (t *tally) fuzzTarget(ctx context.Context, id test) error {
	const tries = 3
	for try := 1; ; try++ {
		run := newTally()
		err := run.stream(ctx, "fuzz ", "go", "test", "-json", "-run=^$", "-fuzz=^"+id.name+"$", "-fuzztime="+fuzzTime, id.pkg)
		if run.timeUp && try < tries {
			fmt.Println("its time was up, which is no failure: again")
			continue
		}
		t.add(run)
		return err
	}
}

// skippedTests runs the tests that found no systemd on this machine in a
// booted host, where they must find one.
func skippedTests(ctx context.Context, t *tally) error {
	wanted := map[string][]string{}
	for id := range t.skipped {
		if top := id.top(); !slices.Contains(wanted[id.pkg], top) {
			wanted[id.pkg] = append(wanted[id.pkg], top)
		}
	}
	var errs []error
	for _, pkg := range slices.Sorted(maps.Keys(wanted)) {
		names := wanted[pkg]
		slices.Sort(names)
		only := inHost("--stock")
		errs = append(errs, t.streamAgain(ctx, only, "booted ", only(pkg, names)...))
	}
	return errors.Join(errs...)
}

// testsIn is a stage of the tests of one tree, in a host with these options.
func testsIn(tree string, options ...string) func(context.Context, *tally) error {
	return func(ctx context.Context, t *tally) error {
		label := strings.Join(append(options, ""), " ")
		argv := append(append([]string{"bin/testhost", "test", "--json"}, options...), "./"+tree+"/...")
		return t.streamAgain(ctx, inHost(options...), label, argv...)
	}
}

// inHost returns what runs some tests of a package in a host with these options.
func inHost(options ...string) func(pkg string, names []string) []string {
	return func(pkg string, names []string) []string {
		argv := append([]string{"bin/testhost", "test", "--json"}, options...)
		return append(argv, pkg, "--", "-test.run="+onlyTests(names))
	}
}

// stream runs a command that prints events and counts them. A command that
// failed without a failed test counts as one.
func (t *tally) stream(ctx context.Context, label string, argv ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "MACHD_TEST_STRICT=1")
	cmd.Stderr = os.Stdout
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return t.one(argv[0], err)
	}
	before := t.failed
	err = errors.Join(t.read(out, label), discard(out), cmd.Wait())
	if err != nil && t.failed == before {
		t.fail(failure{name: label + strings.Join(argv, " "), output: err.Error()})
	}
	return err
}

// discard lets a command end whose output could not be read.
func discard(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}
