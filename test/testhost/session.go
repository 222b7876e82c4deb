package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/machd/machd/test/need"
)

// options are the choices of the commands that boot a host.
type options struct {
	stock, disabled, forky, vm, net, others, kernel, quiet, json, noRace bool

	binds list
}

type list []string

func (l *list) String() string         { return strings.Join(*l, " ") }
func (l *list) Set(value string) error { *l = append(*l, value); return nil }

// filesInside is where a host shows the files of its run.
const filesInside = "/opt/machd-test"

const welcome = `
A booted systemd in a container; nothing you do here outlives it. %s
/var/lib/machines has c8-ns (Debian 13; root's password is c8) and tiny (no systemd). Try:

  %[2]s start c8-ns      and see it in: %[2]s
  %[2]s login c8-ns      ^] ^] ^] leaves it
  %[2]s show c8-ns
  %[2]s stop c8-ns
  systemctl status systemd-machined

exit ends the host.

`

// session boots a host for one command of the user and returns its status.
func (c cache) session(ctx context.Context, command string, args []string) (int, error) {
	var o options
	flags := o.flags(command)
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0, nil
		}
		return 2, fmt.Errorf("see testhost help")
	}
	s, err := c.spec(o)
	if err != nil {
		return 1, err
	}
	// What the user gave is compiled before anything is booted.
	files, err := os.MkdirTemp("", "machd-test-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(files)
	s.Files = files

	if s.Virtual {
		if command != "run" && command != "test" {
			return 2, fmt.Errorf("--kernel is for run and test, not for %s", command)
		}
		if err := needVirtual(ctx); err != nil {
			return 1, err
		}
		if err := s.compile(ctx, "CGO_ENABLED=0", "build", "-o", filepath.Join(files, "testhost"), "./test/testhost"); err != nil {
			return 1, err
		}
	}
	switch command {
	case "run":
		err = s.runSteps(flags.Args())
	case "shell":
		s.shellSteps(o)
	case "demo":
		err = s.demoSteps(ctx, o)
	case "test":
		err = s.testSteps(ctx, o, flags.Args())
	}
	if err != nil {
		return 1, err
	}
	if s.Machd != machdAbsent {
		if err := need.Programs(ctx, os.Stderr, "make"); err != nil {
			return 1, err
		}
		if err := program(ctx, s.Repo, "make", "-s", "all"); err != nil {
			return 1, err
		}
	}
	if err := c.prepare(ctx, s.roots()...); err != nil {
		return 1, err
	}
	return c.boot(ctx, s)
}

func (c cache) spec(o options) (spec, error) {
	repo, err := checkout()
	if err != nil {
		return spec{}, err
	}
	s := spec{Repo: repo, host: trixie, guests: guests[:len(guests):len(guests)], Machd: machdEnabled, Binds: o.binds, Quiet: o.quiet, Guests: map[string]string{}}
	if o.forky {
		s.host = forky
	}
	if o.vm {
		s.host = vm
	}
	if o.net {
		s.host = firewalls
		s.guests = append(s.guests, addresses)
	}
	if o.others {
		s.host = others
	}
	switch {
	case o.stock:
		s.Machd = machdAbsent
	case o.disabled:
		s.Machd = machdInstalled
	}
	s.Lower = c.root(s.host)
	if o.kernel {
		s.Virtual = true
		s.Lower = c.root(kernelOf(s.host)) + ":" + s.Lower
	}
	for _, r := range s.guests {
		s.Guests[r.name] = c.root(r)
	}
	return s, nil
}

// roots are the file trees that the host is made of.
func (s *spec) roots() []root {
	roots := append([]root{s.host}, s.guests...)
	if s.Virtual {
		roots = append(roots, kernelOf(s.host))
	}
	return roots
}

func (s *spec) runSteps(argv []string) error {
	if len(argv) == 0 {
		return errors.New("run needs a command; see testhost help")
	}
	s.Steps = []step{{Argv: argv, Dir: "/root", Env: []string{"HOME=/root"}, Stdin: true}}
	return nil
}

func (s *spec) shellSteps(o options) {
	text := fmt.Sprintf(welcome, "machd has the place of systemd-machined.", "machctl")
	if o.stock {
		text = fmt.Sprintf(welcome, "systemd-machined is in its place.", "machinectl")
	}
	s.Quiet = true // a shell ends with the status of the last command typed
	s.Steps = []step{{Argv: []string{"/bin/bash", "--login"}, Dir: "/root", Env: []string{"HOME=/root"}, PTY: true, Welcome: text}}
}

// demoSteps: the demo itself switches from systemd-machined to machd.
func (s *spec) demoSteps(ctx context.Context, o options) error {
	argv := []string{filesInside + "/demo"}
	if o.stock {
		argv = append(argv, "--stock")
	} else {
		s.Machd = machdInstalled
	}
	s.Steps = []step{{Argv: argv, Dir: "/root", Env: []string{"HOME=/root"}}}
	return s.compile(ctx, "CGO_ENABLED=0", "build", "-o", filepath.Join(s.Files, "demo"), "./test/demo")
}

// testSteps builds one test binary per package; each is one step.
func (s *spec) testSteps(ctx context.Context, o options, args []string) error {
	packages, flags := args, []string(nil)
	for i, arg := range args {
		if arg == "--" {
			packages, flags = args[:i], args[i+1:]
			break
		}
	}
	if len(packages) == 0 {
		packages = []string{"./test/booted/..."}
	}
	list := exec.CommandContext(ctx, "go", append([]string{"list", "-f", "{{.ImportPath}} {{.Dir}}", "--"}, packages...)...)
	list.Dir, list.Stderr = s.Repo, os.Stderr
	out, err := list.Output()
	if err != nil {
		return fmt.Errorf("cannot list the packages: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		path, dir, _ := strings.Cut(strings.TrimSpace(line), " ")
		if err := s.addTest(ctx, o, path, dir, flags); err != nil {
			return err
		}
	}
	return nil
}

func (s *spec) addTest(ctx context.Context, o options, path, dir string, flags []string) error {
	name := "t" + strconv.Itoa(len(s.Steps)) + ".test"
	args, environment := []string{"test", "-c", "-race", "-o", filepath.Join(s.Files, name), path}, "CGO_ENABLED=1"
	if o.noRace || s.Virtual { // the detector is slow enough on a processor
		args, environment = append(args[:2:2], args[3:]...), "CGO_ENABLED=0"
	}
	if err := s.compile(ctx, environment, args...); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(s.Files, name)); err != nil {
		return nil // a package without tests
	}
	inside, err := filepath.Rel(s.Repo, dir)
	if err != nil {
		return err
	}
	t := step{
		Argv: append([]string{filesInside + "/" + name, "-test.paniconexit0", "-test.timeout=30m"}, flags...),
		Env:  []string{"HOME=/root", "MACHD_TEST_HOST=" + s.kind(), "MACHD_TEST_STRICT=" + os.Getenv("MACHD_TEST_STRICT")},
		Dir:  filepath.Join("/src", inside),
	}
	if o.json {
		t.Argv = append(t.Argv, "-test.v=test2json")
		t.Filter = []string{"go", "tool", "test2json", "-t", "-p", path}
	} else {
		t.Argv = append(t.Argv, "-test.v")
	}
	s.Steps = append(s.Steps, t)
	return nil
}

// kind tells tests which daemon they talk to.
func (s *spec) kind() string {
	if s.Machd == machdEnabled {
		return "machd"
	}
	return "stock"
}

func (s *spec) compile(ctx context.Context, environment string, args ...string) error {
	return program(ctx, s.Repo, "env", append([]string{environment, "go"}, args...)...)
}

func program(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("cannot run %s %s: %w", name, strings.Join(args, " "), err)
	}
	return nil
}

// checkout returns the folder of this module, above the working directory.
func checkout() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if isCheckout(filepath.Join(dir, "go.mod")) {
			return dir, nil
		}
	}
	return "", errors.New("please start testhost inside a checkout of machd")
}

func isCheckout(path string) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	return lines.Scan() && lines.Text() == "module github.com/machd/machd"
}
