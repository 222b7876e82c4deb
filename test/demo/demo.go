// Command demo plays the session of the book in a booted host, as a reader
// would type it, and checks every answer against what the book shows; then it
// goes on with what is beyond the book.
//
// It owns the script of that session. It must not know how the host came to
// be, nor which daemon answers: with --stock it plays the same session with
// systemd-machined and machinectl, which proves the script.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/machd/machd/test/terminal"
)

// patience is how long any single answer may take, on a slow machine too.
const patience = time.Minute

// A demo is a session in progress.
type demo struct {
	client  string             // machctl or machinectl
	console *terminal.Terminal // where the container runs that was started by hand
}

type step struct {
	name, title string
	do          func(*demo) error
}

func main() {
	d := &demo{client: "machctl"}
	steps := session
	if len(os.Args) > 1 && os.Args[1] == "--stock" {
		d.client = "machinectl"
	} else {
		steps = slices.Concat([]step{{"switch", "machd takes the place of systemd-machined", (*demo).takeOver}}, session, network, beyond)
	}
	start := time.Now()
	for _, s := range steps {
		fmt.Printf("\n== %s: %s\n", s.name, s.title)
		if err := s.do(d); err != nil {
			fmt.Printf("\ndemo: step %s (%s) is not as it should be: %v\n", s.name, s.title, err)
			os.Exit(1)
		}
		fmt.Printf("== %s: as it should be\n", s.name)
	}
	fmt.Printf("\ndemo: all %d steps did what they should, in %.1f s\n",
		len(steps), time.Since(start).Seconds())
}

// command types a command, shows what it answered and returns that.
func (d *demo) command(argv ...string) (string, error) {
	prompt(argv)
	answer, err := quietly(argv...)
	show(answer)
	if err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	}
	return answer, nil
}

func quietly(argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	return string(out), err
}

func prompt(argv []string) {
	words := make([]string, len(argv))
	for i, word := range argv {
		words[i] = word
		if strings.ContainsAny(word, " $;|*\\") {
			words[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
	}
	fmt.Printf("[root@host ~]# %s\n", strings.Join(words, " "))
}

// shownLines is how much of a long answer is shown at either end.
const shownLines = 8

func show(answer string) {
	lines := strings.Split(strings.TrimRight(answer, "\n"), "\n")
	if len(lines) > 2*shownLines {
		middle := fmt.Sprintf("   … (%d lines) …", len(lines)-2*shownLines)
		lines = append(append(lines[:shownLines:shownLines], middle), lines[len(lines)-shownLines:]...)
	}
	if strings.TrimSpace(answer) != "" {
		fmt.Println(strings.Join(lines, "\n"))
	}
}

// eventually waits until check is content. It asks again and again: what ends
// a machine leaves no event that a shell command could wait for.
func eventually(check func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.Join(err, fmt.Errorf("still so after %s", patience))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// open types a command on a terminal of its own.
func open(argv ...string) (*terminal.Terminal, error) {
	prompt(argv)
	return terminal.Open(show, argv...)
}

// login answers the login prompt and waits for the shell's.
func login(t *terminal.Terminal) error {
	for _, round := range []struct{ wanted, answer string }{{`c8-ns login: `, "root\n"}, {`Password: `, "c8\n"}} {
		if _, err := t.Expect(round.wanted); err != nil {
			return err
		}
		if err := t.Type(round.answer); err != nil {
			return err
		}
	}
	_, err := t.Expect(shellPrompt)
	return err
}

const shellPrompt = `root@c8-ns:~# `

// inside types a command into the container's shell and returns the answer.
func inside(t *terminal.Terminal, command string) (string, error) {
	if err := t.Type(command + "\n"); err != nil {
		return "", err
	}
	return t.Expect(shellPrompt)
}
