package booted

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A played line is how one went: what it wrote, its exit status, what there was
// afterwards.
type playedLine struct {
	Code           int
	Stdout, Stderr string
	After          string
}

// TestMachdHasTheStockCommandsOutputs has the same lines carried out by machinectl
// and by machctl called so, with either daemon. What differs is in a list.
func TestMachdHasTheStockCommandsOutputs(t *testing.T) {
	commands := map[string]string{}
	for name, path := range map[string]string{"machinectl": "machinectl", "machctl": "machctl"} {
		var err error
		commands[name], err = exec.LookPath(path)
		must(t, err)
	}
	must(t, os.MkdirAll("/etc/systemd/nspawn", 0o755))
	startAlone(t, aliasGuest)
	w := watch(t)
	registerVM(t, w, aliasVM, "", "")
	all := slices.Concat(looking, readOtherwise, inLocales, wrong, changing())
	for _, d := range aliasDifferences {
		for _, line := range d.lines {
			if !slices.ContainsFunc(all, func(l aliasLine) bool { return l.String() == line }) {
				t.Errorf("is listed as different, and is not tried: %s", line)
			}
		}
	}
	for _, daemon := range []struct {
		name string
		use  func(*testing.T)
	}{{stock, useStock}, {machd, useMachd}} {
		daemon.use(t)
		for _, line := range all {
			t.Run(daemon.name+"/"+line.String(), func(t *testing.T) {
				want, got := line.playBoth(t, commands)
				compareLine(t, line.String(), daemon.name, want, got)
			})
		}
	}
}

// Programs that look for the version find the number of the systemd that runs.
func TestMachdTellsTheVersionOfTheStockCommand(t *testing.T) {
	commands := map[string]string{}
	for _, command := range []string{"machinectl", "machctl"} {
		path, err := exec.LookPath(command)
		must(t, err)
		cmd := exec.CommandContext(t.Context(), path)
		cmd.Args = []string{"machinectl", "--version"}
		out, err := cmd.Output()
		must(t, err)
		commands[command] = strings.Join(strings.Fields(string(out))[:2], " ")
	}
	if commands["machinectl"] != commands["machctl"] {
		t.Errorf("stock and ours: %q", commands)
	}
}

// playBoth carries out a line by both commands. Processes of a guest come and go:
// where only looking has shown something else, what counts is what the stock
// command shows before and after.
func (l aliasLine) playBoth(t *testing.T, commands map[string]string) (want, got playedLine) {
	t.Helper()
	const tries = 5
	want = l.play(t, commands["machinectl"])
	for range tries {
		got = l.play(t, commands["machctl"])
		if want == got || l.prepare != nil || l.look != nil {
			break
		}
		again := l.play(t, commands["machinectl"])
		if again == want {
			break
		}
		want = again
	}
	return want, got
}

// startAlone boots a guest whose network nobody changes, and whose files are
// those of root here.
func startAlone(t *testing.T, name string) {
	t.Helper()
	installGuest(t, name)
	must(t, os.WriteFile(filepath.Join(settings, name+".nspawn"), []byte("[Exec]\nNotifyReady=yes\nPrivateUsers=no\n[X-Machd]\nNetwork=no\n"), 0o644))
	run(t, "machinectl", "start", name)
}

// play carries out a line by the command at path, which is told that it is
// called machinectl.
func (l aliasLine) play(t *testing.T, path string) playedLine {
	t.Helper()
	if l.prepare != nil {
		l.prepare(t)
		defer removeAliases(t)
	}
	args := strings.Fields(strings.NewReplacer("GUEST", aliasGuest, "VM", aliasVM, "IMAGE", aliasImage).Replace(l.line))
	for i := range args {
		if args[i] == "''" {
			args[i] = ""
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path)
	cmd.Args = append([]string{"machinectl"}, args...)
	cmd.Dir = "/"
	cmd.Env = append(append(os.Environ(), "SYSTEMD_PAGER="), l.env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", l.line, err)
	}
	p := playedLine{Code: cmd.ProcessState.ExitCode(), Stdout: normal(stdout.String()), Stderr: normal(stderr.String())}
	if l.look != nil {
		p.After = l.look(t)
	}
	return p
}

// removeAliases takes away what lines have made.
func removeAliases(t *testing.T) {
	t.Helper()
	for _, pattern := range []string{
		guests + "/alias-image*", guests + "/.alias*", "/etc/systemd/nspawn/alias-image*", "/etc/systemd/system/machines.target.wants/*alias*",
		"/tmp/alias-*", filepath.Join(guests, aliasGuest, "root/alias"), filepath.Join(guests, aliasGuest, "tmp/alias-*"),
	} {
		found, _ := filepath.Glob(pattern)
		for _, file := range found {
			observe(t, "chattr", "-i", file)
			must(t, os.RemoveAll(file))
		}
	}
}

// compareLine compares what the two have done, unless they are known to differ;
// line has its environment in front.
func compareLine(t *testing.T, line, daemon string, want, got playedLine) {
	t.Helper()
	for _, d := range aliasDifferences {
		if !d.about(line, daemon) {
			continue
		}
		switch {
		case cmp.Equal(want, got) && d.perhaps:
		case cmp.Equal(want, got):
			t.Errorf("is listed as different, and is the same: %s", d.why)
		case !d.code && want.Code != got.Code:
			t.Errorf("exit status %d, stock %d\n%s%s", got.Code, want.Code, got.Stdout, got.Stderr)
		case want.After != got.After:
			t.Errorf("afterwards (-stock +ours):\n%s", cmp.Diff(want.After, got.After))
		}
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-stock +ours):\n%s", diff)
	}
}
