package foreign

import (
	"testing"

	"github.com/machd/machd/test/live"
	"github.com/machd/machd/test/terminal"
)

// A round waits for text and types what follows.
type round struct{ wanted, typed string }

// talk has a conversation on a client's terminal until the client ends.
func talk(t *testing.T, rounds []round, argv ...string) {
	t.Helper()
	term, err := terminal.Open(func(text string) { t.Log(text) }, argv...)
	live.Must(t, err)
	for _, r := range rounds {
		if _, err := term.Expect(r.wanted); err != nil {
			t.Fatalf("%q: %v", argv, err)
		}
		live.Must(t, term.Type(r.typed))
	}
	live.Must(t, term.Wait())
}

// job is a program that says itself when it has the terminal.
const job = "sh -c 'echo ready; exec sleep 1000'\n"

// ended is what machinectl says when a session is over; 262 mixes up which.
const ended = `(Connection to|Machine) .*terminated\.`

// TestTerminals sits down at a guest as people do: with job control, with the
// wrong password, and until the guest goes.
func TestTerminals(t *testing.T) {
	t.Parallel()
	const name = "visited-by-people"
	startGuest(t, name)
	talk(t, []round{
		{`root@\S+:~# `, "exit\n"},
		{ended, ""},
	}, "machinectl", "shell", ".host")
	talk(t, []round{
		{`VAR=some text\n`, ""},
		{ended, ""},
	}, "machinectl", "shell", "--setenv=VAR=some text", "--uid=lena", name, "/usr/bin/env")
	talk(t, []round{
		{`Connected to machine ` + name + `\.`, ""},
		{`lena@\S+:~\$ `, job},
		{`\nready\n`, "\x03"},
		{`lena@\S+:~\$ `, job},
		{`\nready\n`, "\x1a"},
		{`Stopped`, "kill %1; echo $0 $TERM of $(id -un)\n"},
		{`\n/bin/bash xterm of lena\n`, "exit\n"},
		{ended, ""},
	}, "machinectl", "shell", "lena@"+name)
	talk(t, []round{
		{`Connected to machine ` + name + `\.`, ""},
		{`login: `, "root\n"},
		{`Password: `, "wrong\n"},
		{`Login incorrect`, ""},
		{`login: `, "root\n"},
		{`Password: `, "c8\n"},
		{`root@\S+:~# `, "stty size; tty\n"},
		{`\n40 120\n/dev/pts/\d+\n`, "systemctl poweroff\n"},
		{ended, ""},
	}, "machinectl", "login", name)
}
