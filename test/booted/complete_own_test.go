package booted

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// completions are what machctl says may follow a line.
func completions(t *testing.T, words ...string) string {
	t.Helper()
	return run(t, append([]string{"machctl", "__complete"}, words...)...)
}

// What is in a machine can be completed by who may look into it, at once, and
// nobody is asked for a password.
func TestMachdCompletionLooksIntoMachines(t *testing.T) {
	const name = "complete-guest"
	startGuest(t, name)
	run(t, "machctl", "exec", name, "--", "sh", "-c", "useradd -m -u 1234 alice; mkdir -p /srv/data/deep; touch /srv/data/file; "+
		"ln -s /etc/passwd /srv/data/link; ln -s / /srv/root")
	for _, test := range []struct{ words, want, not string }{
		{"exec ali", "alice@" + name + "\t", ""},
		{"shell root@complete-", "root@" + name + "\t", ""},
		{"shell -u al", "alice\t", ""},
		{"copy-from " + name + " /srv/da", "/srv/data/\t\n:open", "link"},
		{"copy-from " + name + " /srv/data/", "/srv/data/file\t", ""},
		{"copy-to " + name + " /etc/hosts /srv/data/d", "/srv/data/deep/\t\n:open", "file"},
		{"unbind " + name + " /srv/root/srv/data/f", "/srv/root/srv/data/file\t", ""},
		{"exec " + name + " userad", "useradd\t", ""},
		{"exec -w /srv/ " + name + " cat /srv/data/f", "/srv/data/file\t", ""},
		{"shell " + name + " /usr/bin/ca", "/usr/bin/cat\t", ""},
	} {
		eventually(t, test.words, func() error { // whoever waits for it too long is offered nothing
			got := completions(t, strings.Fields(test.words)...)
			if !strings.Contains(got, test.want) || test.not != "" && strings.Contains(got, test.not) {
				return fmt.Errorf("%q, want %q and not %q", got, test.want, test.not)
			}
			return nil
		})
	}
	// Somebody else sees which machines there are, and nothing inside.
	stranger := func(words ...string) string {
		return run(t, append(append(asUser("alice"), "machctl", "__complete"), words...)...)
	}
	if got := stranger("status", "complete-"); !strings.Contains(got, name) {
		t.Errorf("a stranger is offered %q", got)
	}
	if got := stranger("copy-from", name, "/srv/"); strings.Contains(got, "data") {
		t.Errorf("a stranger sees %q", got)
	}
	wantFast(t, name)
}

// wantFast measures how long somebody waits who presses the key.
func wantFast(t *testing.T, name string) {
	t.Helper()
	const most = 150 * time.Millisecond // many times what it takes, for a host that is busy
	for _, words := range []string{"sta", "status ", "exec ali", "copy-from " + name + " /srv/data/"} {
		best := time.Hour
		for range 10 {
			begin := time.Now()
			completions(t, strings.Split(words, " ")...)
			best = min(best, time.Since(begin))
		}
		t.Logf("%q takes %v", words, best.Round(100*time.Microsecond))
		if best > most {
			t.Errorf("%q takes %v", words, best)
		}
	}
}
