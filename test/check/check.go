// Command check runs every test there is: form, vet, staticcheck, tests with
// the race detector, a few seconds of each fuzz target, and the tests that need
// a booted systemd, in hosts that testhost boots. It ends with a line that
// counts them.
//
// It owns the order and the counting. It must not know what any test does.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/test/need"
)

// A stage is one kind of test. It counts what it ran into the tally.
type stage struct {
	name string
	run  func(context.Context, *tally) error
}

var stages = []stage{
	{"gofmt", gofmt},
	{"go vet", command("go", "vet", "./...")},
	{"staticcheck", command("go", "tool", "staticcheck", "./...")},
	{"make", command("make", "-s", "all", "bin/testhost")},
	{"file trees of the hosts", command("bin/testhost", "build")},
	{"tests", unitTests},
	{"fuzz targets", fuzzTargets},
	{"tests that need a booted systemd", skippedTests},
	{"the book's session, systemd-machined 257", command("bin/testhost", "demo", "--stock")},
	{"the book's session, machd on 257", command("bin/testhost", "demo")},
	{"the book's session, machd on 262", command("bin/testhost", "demo", "--forky")},
	{"booted tests, systemd-machined 257", testsIn(bootedTree, "--stock")},
	{"booted tests, systemd-machined 262", testsIn(bootedTree, "--stock", "--forky")},
	{"booted tests, machd on 257", testsIn(bootedTree)},
	{"booted tests, machd on 262", testsIn(bootedTree, "--forky")},
	{"programs of others, systemd-machined 257", testsIn(foreignTree, "--stock")},
	{"programs of others, systemd-machined 262", testsIn(foreignTree, "--stock", "--forky")},
	{"programs of others, machd on 257", testsIn(foreignTree)},
	{"programs of others, machd on 262", testsIn(foreignTree, "--forky")},
	{"virtual machines, systemd-machined 257", testsIn(vmTree, "--vm", "--stock")},
	{"virtual machines, machd on 257", testsIn(vmTree, "--vm")},
	{"firewalls, and machines that ask for addresses, machd on 257", testsIn(networkTree, "--net")},
	{"limits that a kernel keeps, machd on 257", testsIn(kernelTree, "--kernel")},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	os.Exit(run(ctx))
}

// run runs the stages, all of them even after a failure: one run tells
// everything.
func run(ctx context.Context) int {
	if err := prepare(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "check:", err)
		return 1
	}
	t := newTally()
	for _, s := range stages {
		fmt.Printf("\n=== %s\n", s.name)
		start := time.Now()
		err := s.run(ctx, t)
		if ctx.Err() != nil {
			fmt.Fprintln(os.Stderr, "check: interrupted")
			return 130
		}
		if err != nil {
			fmt.Printf("--- FAIL: %s: %v\n", s.name, err)
		}
		fmt.Printf("=== %s: %.0f s\n", s.name, time.Since(start).Seconds())
	}
	return t.close()
}

// prepare installs what the tests use and goes to the top of the checkout.
func prepare(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("cannot find the checkout: %w", err)
	}
	if err := os.Chdir(filepath.Dir(strings.TrimSpace(string(out)))); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("the booted tests need root: sudo make check")
	}
	return need.Programs(ctx, os.Stderr, "make", "gcc", "dbus-daemon", "busctl", "machinectl", "systemd-nspawn", "bash", "zsh", "fish", "mandoc",
		"ip", "nft", "mmdebstrap", "nsenter", "tmux")
}

// command is a stage of one command, which counts as one test.
func command(argv ...string) func(context.Context, *tally) error {
	return func(ctx context.Context, t *tally) error {
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
		return t.one(strings.Join(argv, " "), cmd.Run())
	}
}

func gofmt(ctx context.Context, t *tally) error {
	out, err := exec.CommandContext(ctx, "gofmt", "-l", ".").CombinedOutput()
	if err == nil && len(out) > 0 {
		err = fmt.Errorf("these files are not formatted:\n%s", out)
	}
	return t.one("gofmt", err)
}
