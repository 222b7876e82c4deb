package main

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// The size of the terminal.
const (
	columns = 118
	rows    = 44
)

// session is what is typed, a line after the other.
var session = []string{
	"machctl start c8-ns -n -p 8080:80 --memory=512M",
	"machctl list -o wide",
	"machctl status c8-ns -n 0",
	"machctl exec c8-ns -- uname -n",
	"machctl stop c8-ns",
}

// patience is how long one command may take, on a slow machine too.
const patience = 2 * time.Minute

// prompt is the shell's, and ready is what it wakes before.
const (
	prompt = "# "
	ready  = "ready"
)

// capture types lines into a shell on a terminal of tmux, each when the one
// before is done, and returns the screen.
func capture(lines []string) (string, error) {
	t := tmux{socket: "picture"}
	if _, err := t.do("new-session", "-d", "-s", "picture", "-x", strconv.Itoa(columns), "-y", strconv.Itoa(rows),
		"env", "PS1="+prompt, "PROMPT_COMMAND=tmux -L "+t.socket+" wait-for -S "+ready, "LANG=C.UTF-8", "SYSTEMD_PAGER=cat",
		"bash", "--norc", "--noprofile"); err != nil {
		return "", err
	}
	defer t.do("kill-server")
	for _, line := range lines {
		if err := t.await(); err != nil {
			return "", err
		}
		if _, err := t.do("send-keys", "-t", "picture", "-l", line); err != nil {
			return "", err
		}
		if _, err := t.do("send-keys", "-t", "picture", "Enter"); err != nil {
			return "", err
		}
	}
	if err := t.await(); err != nil {
		return "", err
	}
	screen, err := t.do("capture-pane", "-e", "-p", "-t", "picture")
	return strings.TrimRight(screen, "\n") + "\n", err
}

// A tmux is a server of its own, by the name of its socket.
type tmux struct{ socket string }

func (t tmux) do(args ...string) (string, error) {
	cmd := exec.Command("tmux", append([]string{"-L", t.socket, "-u", "-f", "/dev/null"}, args...)...)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("tmux %s: %w: %s", args[0], err, complaint.String())
	}
	return string(out), nil
}

// await waits until the shell waits for another line.
func (t tmux) await() error {
	asked := make(chan error, 1)
	go func() {
		_, err := t.do("wait-for", ready)
		asked <- err
	}()
	select {
	case err := <-asked:
		if err != nil {
			return err
		}
	case <-time.After(patience):
		screen, _ := t.do("capture-pane", "-p", "-t", "picture")
		return fmt.Errorf("after %s the screen is\n%s", patience, screen)
	}
	// The shell says so before it prints the prompt.
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		screen, err := t.do("capture-pane", "-p", "-t", "picture")
		if err != nil {
			return err
		}
		lines := strings.Split(strings.TrimRight(screen, "\n"), "\n")
		if lines[len(lines)-1]+" " == prompt {
			return nil
		}
	}
	return fmt.Errorf("there is no prompt")
}
