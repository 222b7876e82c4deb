package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
)

// An agent that notes how it was called and what became of it. It is ready
// when it closes the descriptor that it was given.
const noteAgent = `#!/bin/sh
echo "$@" >> "$NOTES"
trap 'echo ended >> "$NOTES"; exit' TERM
exec 3>&-
while :; do sleep 0.05; done
`

func TestAUserOnATerminalIsGivenAnAgent(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become somebody else")
	}
	for name, c := range map[string]struct {
		args []string
		user uint32
		want string
	}{
		"to do something":    {[]string{"kill", "c8-ns"}, 65534, "--notify-fd 3 --fallback\nended\n"},
		"not to look":        {[]string{"list"}, 65534, ""},
		"not if unwanted":    {[]string{"kill", "c8-ns", "--no-ask-password"}, 65534, ""},
		"not to make a typo": {[]string{"kill", "a_b"}, 65534, ""},
		"not root":           {[]string{"kill", "c8-ns"}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := notesOfAgent(t, c.user, c.args...); got != c.want {
				t.Errorf("the agent notes %q, want %q", got, c.want)
			}
		})
	}
}

// notesOfAgent runs machctl as a user on a terminal, without a bus, and
// returns what the agent noted.
func notesOfAgent(t *testing.T, user uint32, args ...string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	notes := filepath.Join(dir, "notes")
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	install(t, filepath.Join(dir, "machctl"), self)
	install(t, filepath.Join(dir, "pkttyagent"), strings.NewReader(noteAgent))
	install(t, notes, strings.NewReader(""))
	for _, path := range []string{dir, notes} {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}

	cmd := exec.Command(filepath.Join(dir, "machctl"), args...)
	cmd.Env = []string{"PATH=" + dir + ":/usr/bin:/bin", "NOTES=" + notes, "DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nonexistent", hurry}
	master, slave, err := pty.Open()
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	defer master.Close()
	go io.Copy(io.Discard, master)
	if err := slave.Chmod(0o666); err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Credential: &syscall.Credential{Uid: user, Gid: user}}
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	slave.Close()
	text, err := os.ReadFile(notes)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// install writes a file in another process: what a process has open for
// writing, others that are forked meanwhile cannot run.
func install(t *testing.T, path string, content io.Reader) {
	t.Helper()
	cmd := exec.Command("install", "-m", "755", "/dev/stdin", path)
	cmd.Stdin = content
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot install %s: %v: %s", path, err, out)
	}
}
