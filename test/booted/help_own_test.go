package booted

import (
	"cmp"
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
var exampleKeys = map[string][][2]string{
	"machctl list --watch":         {{"ex-ns", "\x03"}},
	"machctl status c8-ns --watch": {{"ex-ns", "\x03"}},
	"machctl top":                  {{"MACHINE", "q"}},
	"machctl events --all":         {{"ex-ns", "\x03"}},
	"machctl login c8-ns":          {{"login:", "\x1d\x1d\x1d"}},
	"machctl shell c8-ns":          {{`# `, "\x1d\x1d\x1d"}},
	"machctl exec -t c8-ns top":    {{"PID", "q"}},
	"machctl edit c8-ns":           {},
	"machctl passwd web":           {{"New password of root of web: ", "c8\n"}, {"The same again: ", "c8\n"}},
}

// exampleElsewhere are examples about what is not in this host, and is not worth
// to be made. What they do is for other tests; here it is only whether the line
// makes sense.
var exampleElsewhere = map[string]string{
	"machctl create web --from debian:13 --ssh-key ~/.ssh/id_ed25519.pub": "packages, and a key",
	"machctl create db --from fedora:42 --root-password-file -":           "packages, and who is asked for a password",
	"machctl create tools --from oci:docker.io/library/alpine:3":          "a registry",
	"machctl pull-oci docker.io/library/debian:13 debian":                 "a registry",
	"ssh other machctl export-tar web | machctl import-tar - web":         "another host",
}

// exampleRefusals are what examples about such things are refused by, where that
// is certain.
var exampleRefusals = map[string]string{
	"machctl pull-tar https://example.com/images/web.tar.xz": "Failed to retrieve signature file, cannot verify", // nobody has signed it
	"machctl set-limit c8-ns 10G":                            "only a subvolume of btrfs can be",
	"machctl bind-volume vm block:/dev/vg/data":              `cannot attach "block:/dev/vg/data" to "vm"`,
	"machctl unbind-volume vm block:/dev/vg/data":            `cannot detach "block:/dev/vg/data" from "vm"`,
	"machctl cancel-transfer 3":                              "No transfer by id 3",
}

// beforeExample makes what an example needs, by its line or its verb, in the
// directory where it is carried out. tiny is a small image of this host's.
var beforeExample = map[string]string{
	"cat":       "mkdir -p /etc/systemd/nspawn && printf '[Exec]\\nNotifyReady=yes\\n' >/etc/systemd/nspawn/ex-ns.nspawn",
	"read-only": "test -e /var/lib/machines/ex-test || machctl clone ex-ns ex-test",
	"rename":    "test -e /var/lib/machines/ex-test || machctl clone ex-ns ex-test",
	"remove":    "test -e /var/lib/machines/ex-test || machctl clone ex-ns ex-test",
	"run":       "machctl stop ex-ns",
	"resume":    "machctl pause ex-ns",
	"history":   "machctl terminate ex-ns && machctl start ex-ns",
	"unbind":    "machctl bind ex-ns --mkdir --read-only /srv /srv",
	"passwd": "test -e /var/lib/machines/web || cp -a /var/lib/machines/tiny /var/lib/machines/web; echo c8 >secret; cd /var/lib/machines/web/etc && " +
		"for f in passwd:x:1000:1000::/:/bin/sh 'shadow:!:19000:0:99999:7:::'; do " +
		"test ! -e ${f%%:*} || grep -q ^alice: ${f%%:*} || echo alice:${f#*:} >>${f%%:*}; done",
	"machctl create copy --from machine:c8-ns":  "rm -rf /var/lib/machines/copy",
	"machctl create old --from ./rootfs.tar.xz": "rm -rf /var/lib/machines/old rootfs.tar.xz; machctl export-tar -q tiny rootfs.tar.xz",
	"machctl import-tar web.tar.xz":             "rm -rf /var/lib/machines/web web.tar.xz; machctl export-tar -q tiny web.tar.xz",
	"import-fs":                                 "rm -rf /var/lib/machines/web /srv/web; cp -a /var/lib/machines/tiny /srv/web",
	"pull-tar":                                  "rm -rf /var/lib/machines/web /var/lib/machines/web2",
	"import-raw":                                "rm -f /var/lib/machines/disk.raw; truncate -s 1M disk.qcow2",
	"pull-raw":                                  "rm -f /var/lib/machines/disk.raw; truncate -s 1M /srv/disk.qcow2",
	"export-raw":                                "test -e /var/lib/machines/disk.raw || truncate -s 1M /var/lib/machines/disk.raw",
}

// Whoever pastes an example of the help has it work. The machine of the
// examples has another name here, as other tests use that one.
func TestMachdExamplesOfTheHelpWork(t *testing.T) {
	copyImage(t, "c8-ns", "ex-ns")
	copyImage(t, "c8-ns", "web")
	forgetDownloads(t)
	// What is on tmpfs can be shown with other owners.
	run(t, "mount", "-t", "tmpfs", "examples", "/srv")
	server := serveImages(t, map[string][]byte{"web.tar.xz": archiveOf(t, transferred, 0)})
	t.Cleanup(func() {
		observe(t, "machctl", "terminate", "ex-ns")
		for _, made := range []string{"ex-test", "ex-new", "copy", "web", "web2", "db", "tools", "old", "disk"} {
			observe(t, "machctl", "remove", "-q", made)
		}
		run(t, "umount", "-l", "/srv")
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
		names := strings.NewReplacer("c8-ns", "ex-ns", "c8-test", "ex-test", "c8-new", "ex-new", "https://example.com/images", server.URL)
		if verb == "export-tar" { // which takes long
			names = strings.NewReplacer("c8-ns", "tiny")
		}
		for _, example := range examples {
			line := names.Replace(example)
			t.Run(line, func(t *testing.T) { wantExampleWorks(t, verb, example, line, home) })
		}
	}
}

// wantExampleWorks carries out line, which is an example with the names of this
// host.
func wantExampleWorks(t *testing.T, verb, example, line, home string) {
	ready := "machctl start -q ex-ns"
	if verb == "start" {
		ready = "machctl stop -q ex-ns || true"
	}
	run(t, "sh", "-c", ready)
	if verb == "pause" {
		defer run(t, "machctl", "resume", "ex-ns")
	}
	if before := cmp.Or(beforeExample[example], beforeExample[verb]); before != "" {
		run(t, "sh", "-c", "cd "+home+" && { "+before+"; }")
	}
	environment := append(os.Environ(), "HOME="+home, "EDITOR=true")
	if keys, ok := exampleKeys[example]; ok {
		term := openTerminal(t, append([]string{"env", "HOME=" + home, "EDITOR=true"}, strings.Fields(line)...)...)
		talk(t, term, keys...)
		// ^C ends what would go on for ever, which its exit code says.
		if err := term.Wait(); err != nil && !(len(keys) > 0 && keys[0][1] == "\x03") {
			t.Errorf("it ends with %v", err)
		}
		return
	}
	within := time.Minute
	if exampleElsewhere[example] != "" {
		within = 3 * time.Second
	}
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", line)
	cmd.Env, cmd.Dir, cmd.WaitDelay = environment, home, time.Second
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch refusal := exampleRefusals[example]; {
	case refusal != "":
		if !errors.As(err, &exit) || exit.ExitCode() == 2 || !strings.Contains(string(out), refusal) {
			t.Errorf("it ends with %v, and does not say %q:\n%s", err, refusal, out)
		}
	case verb == "doctor" && errors.As(err, &exit) && exit.ExitCode() == 1: // all is not well in this host
	case exampleElsewhere[example] == "" && err != nil:
		t.Errorf("%v:\n%s", err, out)
	case errors.As(err, &exit) && exit.ExitCode() == 2 && !strings.Contains(string(out), "password"): // which is asked for at a terminal only
		t.Errorf("it is no command line:\n%s", out)
	}
}
