package booted

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// exampleLine is an example in the help of a verb; what it is good for stands
// four blanks behind it, or below it.
var exampleLine = regexp.MustCompile(`(?m)^  (\S.*?)(?:    .*)?$`)

// examplesOf are the examples that help has for a verb.
func examplesOf(t *testing.T, verb string) (lines []string) {
	t.Helper()
	_, text, _ := strings.Cut(run(t, "machctl", "help", verb), "\nExamples:\n")
	text, _, _ = strings.Cut(text, "\n\n")
	for _, match := range exampleLine.FindAllStringSubmatch(text, -1) {
		lines = append(lines, match[1])
	}
	return lines
}

// verbsOfHelp are those that help knows.
func verbsOfHelp(t *testing.T) (names []string) {
	t.Helper()
	for line := range strings.Lines(run(t, "machctl", "help", "verbs")) {
		if word, ok := strings.CutPrefix(line, "  "); ok && word[0] != ' ' {
			names = append(names, strings.TrimRight(strings.Fields(word)[0], ","))
		}
	}
	return names
}

// exampleKeys are what is typed where somebody has to, behind what is waited for.
var exampleKeys = map[string][2]string{
	"machctl list --watch":         {"ex-ns", "\x03"},
	"machctl status ex-ns --watch": {"ex-ns", "\x03"},
	"machctl top":                  {"MACHINE", "q"},
	"machctl events --all":         {"ex-ns", "\x03"},
	"machctl login ex-ns":          {"login:", "\x1d\x1d\x1d"},
	"machctl shell ex-ns":          {`# `, "\x1d\x1d\x1d"},
	"machctl exec -t ex-ns top":    {"PID", "q"},
	"machctl edit ex-ns":           {"", ""},
}

// exampleSources are verbs whose examples are about what is not in this host: a
// server, a file, a file system, a virtual machine. What they do is for other
// tests; here it is only whether the line makes sense.
var exampleSources = map[string]string{
	"create": "packages", "passwd": "a password that is typed twice, and a file", "bind": "a file system that can be shown with other owners", "unbind": "what bind has mounted", "set-limit": "btrfs",
	"bind-volume": "a virtual machine", "unbind-volume": "a virtual machine", "pull-tar": "a server", "pull-raw": "a server",
	"pull-oci": "a registry", "import-tar": "an archive", "import-raw": "a disk image", "import-fs": "a directory",
	"export-tar": "time", "export-raw": "a disk image", "cancel-transfer": "a transfer",
}

// beforeExample makes what an example needs, by its verb.
var beforeExample = map[string]string{
	"cat":       "mkdir -p /etc/systemd/nspawn && printf '[Exec]\\nNotifyReady=yes\\n' >/etc/systemd/nspawn/ex-ns.nspawn",
	"read-only": "test -e /var/lib/machines/ex-test || machctl clone ex-ns ex-test",
	"rename":    "test -e /var/lib/machines/ex-test || machctl clone ex-ns ex-test",
	"remove":    "test -e /var/lib/machines/ex-test || machctl clone ex-ns ex-test",
	"run":       "machctl stop ex-ns",
	"resume":    "machctl pause ex-ns",
	"history":   "machctl terminate ex-ns && machctl start ex-ns",
}

// Whoever pastes an example of the help has it work. The machine of the
// examples has another name here, as other tests use that one.
func TestMachdExamplesOfTheHelpWork(t *testing.T) {
	copyImage(t, "c8-ns", "ex-ns")
	copyImage(t, "c8-ns", "web")
	t.Cleanup(func() {
		observe(t, "machctl", "terminate", "ex-ns")
		for _, made := range []string{"ex-test", "ex-new", "copy", "web", "db", "tools", "old", "disk"} {
			observe(t, "machctl", "remove", "-q", made)
		}
		observe(t, "rm", "-f", "/etc/systemd/nspawn/ex-ns.nspawn")
	})
	home := t.TempDir()
	must(t, os.MkdirAll(home+"/.config/fish/completions", 0o755))
	for _, verb := range verbsOfHelp(t) {
		if verb == "help" {
			continue
		}
		examples := examplesOf(t, verb)
		if len(examples) == 0 {
			t.Errorf("%s has no example", verb)
		}
		for _, line := range examples {
			line = strings.NewReplacer("c8-ns", "ex-ns", "c8-test", "ex-test", "c8-new", "ex-new").Replace(line)
			t.Run(line, func(t *testing.T) { wantExampleWorks(t, verb, line, home) })
		}
	}
}

func wantExampleWorks(t *testing.T, verb, line, home string) {
	ready := "machctl start -q ex-ns"
	if verb == "start" {
		ready = "machctl stop -q ex-ns || true"
	}
	run(t, "sh", "-c", ready)
	if verb == "pause" {
		defer run(t, "machctl", "resume", "ex-ns")
	}
	if before, ok := beforeExample[verb]; ok {
		run(t, "sh", "-c", before)
	}
	environment := append(os.Environ(), "HOME="+home, "EDITOR=true")
	if keys, ok := exampleKeys[line]; ok {
		term := openTerminal(t, append([]string{"env", "HOME=" + home, "EDITOR=true"}, strings.Fields(line)...)...)
		if keys[0] != "" {
			talk(t, term, keys)
		}
		// ^C ends what would go on for ever, which its exit code says.
		if err := term.Wait(); err != nil && !strings.Contains(keys[1], "\x03") {
			t.Errorf("it ends with %v", err)
		}
		return
	}
	within := time.Minute
	if exampleSources[verb] != "" {
		within = 3 * time.Second
	}
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", line)
	cmd.Env, cmd.Dir, cmd.WaitDelay = environment, home, time.Second
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case verb == "doctor" && errors.As(err, &exit) && exit.ExitCode() == 1: // all is not well in this host
	case exampleSources[verb] == "" && err != nil:
		t.Errorf("%v:\n%s", err, out)
	case errors.As(err, &exit) && exit.ExitCode() == 2 && !strings.Contains(string(out), "password"): // which is asked for at a terminal only
		t.Errorf("it is no command line:\n%s", out)
	}
}
