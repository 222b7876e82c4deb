package booted

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMachdSnapshots goes through the life of snapshots of an image.
func TestMachdSnapshots(t *testing.T) {
	imagesGoAfter(t, "snap")
	run(t, "machctl", "create", "snap", "--from", "tiny")
	file := filepath.Join(guests, "snap/etc/state")
	state := func() string { text, _ := os.ReadFile(file); return string(text) }
	set := func(text string) { must(t, os.WriteFile(file, []byte(text), 0o644)) }
	must(t, os.WriteFile(filepath.Join(guests, "snap.nspawn"), []byte("[Exec]\n"), 0o644))
	t.Cleanup(func() { os.Remove(filepath.Join(guests, "snap.nspawn")) })
	set("first")
	run(t, "machctl", "snapshot", "create", "snap", "one")
	set("second")
	if o := observe(t, "machctl", "snapshot", "create", "snap", "one"); o.Code != 6 {
		t.Errorf("a name that is taken: %+v", o)
	}
	// The snapshot is no image for anybody, and nobody cleans it away.
	run(t, "machctl", "clean")
	run(t, "machinectl", "clean")
	if o := observe(t, "machctl", "list-images"); strings.Contains(o.Stdout, "one") {
		t.Errorf("it is listed: %s", o.Stdout)
	}
	list := observe(t, "machctl", "snapshot", "list", "snap", "--format", "{{.image}} {{.snapshot}} {{.kind}} {{if .usage}}large{{end}}")
	if list.Stdout != "snap one copy large\n" { // the guests are on a tmpfs
		t.Errorf("the list is %q", list.Stdout)
	}
	run(t, "machctl", "start", "snap", "--boot")
	if o := observe(t, "machctl", "snapshot", "restore", "snap", "one"); o.Code == 0 || !strings.Contains(o.Stderr, "in use") {
		t.Errorf("while it runs: %+v", o)
	}
	if o := observe(t, "machctl", "snapshot", "create", "snap", "two"); o.Code != 0 || !strings.Contains(o.Stderr, "after a crash") {
		t.Errorf("of one that runs: %+v", o)
	}
	run(t, "machctl", "stop", "snap")
	set("third")
	o := observe(t, "machctl", "snapshot", "restore", "snap", "one", "--json=short")
	before := between(o.Stdout, `"before":"`, `"`)
	if o.Code != 0 || state() != "first" || before == "" {
		t.Fatalf("it is %q: %+v", state(), o)
	}
	if _, err := os.Stat(filepath.Join(guests, "snap.nspawn")); err != nil {
		t.Errorf("what is beside it: %v", err)
	}
	run(t, "machctl", "snapshot", "restore", "snap", before)
	if state() != "third" {
		t.Errorf("what it was before is %q", state())
	}
	run(t, "machctl", "remove", "snap")
	run(t, "machctl", "snapshot", "restore", "snap", "two")
	if state() != "second" {
		t.Errorf("an image that was removed is %q again", state())
	}
	run(t, "machctl", "snapshot", "remove", "snap", "one")
	if o := observe(t, "machctl", "snapshot", "restore", "snap", "one"); o.Code != 3 || !strings.Contains(o.Stderr, "snapshot list snap") {
		t.Errorf("one that is gone: %+v", o)
	}
	if left := drafts(t); len(left) > 0 {
		t.Errorf("there is %q", left)
	}
}

// between returns what stands between two texts.
func between(text, before, after string) string {
	_, rest, _ := strings.Cut(text, before)
	value, _, _ := strings.Cut(rest, after)
	return value
}

// TestMachdPasswords sets passwords in an image, and in the machine that runs from
// it.
func TestMachdPasswords(t *testing.T) {
	imagesGoAfter(t, "pass")
	run(t, "machctl", "create", "pass", "--from", "machine:c8-ns")
	hash := func() string {
		o := observe(t, "sed", "-n", `s/^root:\([^:]*\):.*/\1/p`, filepath.Join(guests, "pass/etc/shadow"))
		return strings.TrimSpace(o.Stdout)
	}
	is := func(password string) bool {
		return hash() == observe(t, "perl", "-e", `print crypt($ARGV[0], $ARGV[1])`, password, hash()).Stdout
	}
	info := func() string {
		return observe(t, "stat", "-c", "%a %u %g", filepath.Join(guests, "pass/etc/shadow")).Stdout
	}
	was := info()
	set := func(password string) {
		run(t, "bash", "-c", "machctl passwd pass --password-file <(echo '"+password+"')")
	}
	set("one")
	if !is("one") || info() != was || !strings.HasPrefix(hash(), "$y$j9T$") {
		t.Errorf("the hash is %s, the file %s, and was %s", hash(), info(), was)
	}
	run(t, "machctl", "start", "pass")
	set("two")
	if !is("two") || !strings.HasPrefix(hash(), "$y$j9T$") {
		t.Errorf("while it runs: %s", hash())
	}
	// What does not use yescrypt itself might not know it.
	run(t, "sed", "-i", "s/^ENCRYPT_METHOD.*/ENCRYPT_METHOD SHA512/; s/pam_unix.so\\(.*\\) yescrypt/pam_unix.so\\1 sha512/",
		filepath.Join(guests, "pass/etc/login.defs"), filepath.Join(guests, "pass/etc/pam.d/common-password"))
	set("three")
	if !is("three") || !strings.HasPrefix(hash(), "$6$") {
		t.Errorf("while an old one runs: %s", hash())
	}
	run(t, "machctl", "stop", "pass")
	run(t, "machctl", "passwd", "pass", "--lock")
	if is("three") || hash() != "!*" {
		t.Errorf("locked: %s", hash())
	}
	set("four")
	if !is("four") || !strings.HasPrefix(hash(), "$6$") {
		t.Errorf("an old one: %s", hash())
	}
	if o := observe(t, "bash", "-c", "machctl passwd pass nobody-there --password-file <(echo x)"); o.Code == 0 || !strings.Contains(o.Stderr, "no user 'nobody-there'") {
		t.Errorf("of nobody: %+v", o)
	}
	// A link in the image leads nowhere else.
	must(t, os.Rename(filepath.Join(guests, "pass/etc"), filepath.Join(guests, "pass/etc.moved")))
	must(t, os.Symlink("/etc", filepath.Join(guests, "pass/etc")))
	host := observe(t, "sha256sum", "/etc/shadow").Stdout
	if o := observe(t, "bash", "-c", "machctl passwd pass --password-file <(echo x)"); o.Code == 0 || observe(t, "sha256sum", "/etc/shadow").Stdout != host {
		t.Errorf("through a link: %+v", o)
	}
}
