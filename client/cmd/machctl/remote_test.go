package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/machd/machd/client/internal/sshtest"
)

// A terminal has one stream, in which a command of there that cannot be run must
// not look like one that has ended.
func TestARemoteCommandOnATerminalThatCannotBe(t *testing.T) {
	t.Parallel()
	w := worldWithMachine(t)
	const install = "machctl: hint: install machd there, or machctl alone\r\n"
	for _, row := range []struct {
		words []string
		code  int
		says  string
	}{
		{[]string{"-H", "stock/c8-ns", "shell", "web"}, 125, "machctl: stock has no machctl, and shell needs it there, to get into \"c8-ns\"\r\n" + install},
		{[]string{"-H", "stock/c8-ns", "exec", "-t", "web", "true"}, 125, "machctl: stock has no machctl, and exec needs it there, to get into \"c8-ns\"\r\n" + install},
		{[]string{"-H", "stock", "--user", "shell", "web"}, 125, "machctl: stock has no machctl, and shell needs it there\r\n" + install},
		{[]string{"-H", "stock", "run", "web"}, 125, "machctl: stock has no machctl, and run needs it there\r\n" + install},
		{[]string{"-H", "stock", "cat", "web"}, 7, "machctl: stock has no machctl, and cat needs it there\r\n" + install},
		{[]string{"-H", "far", "exec", "-t", "c8-ns", "sh", "-c", "exit 127"}, 127, ""},
		{[]string{"-H", "far", "exec", "-t", "c8-ns", "sh", "-c", "exit 255"}, 125, "machctl: ssh has not reached far, or has lost it, or the command has exited with 255\r\nmachctl: hint: \"ssh far\" has to work first\r\n"},
		{[]string{"-H", "refused", "cat", "web"}, 7, "ssh: connect to host refused port 22: Connection refused\r\nmachctl: ssh has not reached refused, or has lost it\r\nmachctl: hint: \"ssh refused\" has to work first\r\n"},
	} {
		tm := runOnTerminal(t, w, 80, row.words...)
		tm.exits(row.code)
		if got := tm.text(); got != row.says {
			t.Errorf("%q: it says %q, want %q", row.words, got, row.says)
		}
	}
}

// What a loop reads its lines from is not lost to a verb that needs none of it, and
// the terminal, which others may write to, stays as it is.
func TestARemoteVerbOnATerminalLeavesTheInput(t *testing.T) {
	t.Parallel()
	w := worldWithMachine(t)
	log := filepath.Join(t.TempDir(), "log")
	for verb, want := range map[string]string{
		"cat c8-ns":             " -T ",
		"shell c8-ns /bin/true": " -tt ",
		"exec -t c8-ns true":    " -tt ",
	} {
		cmd := exec.Command("sh", "-c", "machctl -q -H far "+verb+" </dev/null; true")
		cmd.Env = append(command(w).Env, sshtest.Log+"="+log)
		putOnTerminal(t, 80, cmd).exits(0)
		text, err := os.ReadFile(log)
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: ssh gets %q, %v; want%s", verb, text, err, want)
		}
		_ = os.Remove(log)
	}
}
