package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// chpasswd is a machine's program, which the machines of tests must not have of this
// host. What it does depends on the user.
func chpasswd() {
	line, _ := io.ReadAll(os.Stdin)
	user, hash, _ := strings.Cut(string(line), ":")
	switch {
	case user == "stuck":
		time.Sleep(time.Hour) // it is ended before
	case user == "hostile":
		for _, f := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
			if isTerminal(f) {
				fmt.Println("terminal")
			}
		}
		fmt.Println("\x1b]0;mine\a")
		os.Exit(1)
	case strings.Join(os.Args[1:], " ") != "-e" || !strings.HasPrefix(hash, "$") && !strings.HasPrefix(hash, locked):
		fmt.Fprintf(os.Stderr, "what is %q %q?\n", os.Args, line)
		os.Exit(1)
	}
}

// Root at a terminal sets passwords in machines of others: their programs get nothing
// of it.
func TestAMachinesChpasswdHasNoTerminalOfOurs(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("my secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tm := runOnTerminal(t, worldWithMachine(t), 80, "passwd", "c8-ns", "hostile", "--password-file", secret)
	tm.exits(1)
	want := "machctl: cannot set the password of hostile in \"c8-ns\": its chpasswd says no\r\n  ?]0;mine?\r\n"
	if got := tm.text(); got != want {
		t.Errorf("the screen shows %q, want %q", got, want)
	}
}
