package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// Defaults of less, as of systemd's commands: it ends where all fits the
// screen, and leaves the screen as it is.
const (
	lessOptions = "FRSXMK"
	lessCharset = "utf-8"
)

// pagers are tried in this order where the environment names none.
var pagers = []string{"pager", "less", "more"}

// page prints a result, through a pager if it is longer than the terminal.
func (u *ui) page(text string) {
	if !u.isTerminal() || u.isDumb() || u.options.noPager || u.height == 0 || strings.Count(text, "\n") < u.height {
		u.print(text)
		return
	}
	if shown, err := u.throughPager(text); !shown {
		u.print(text)
	} else if err != nil && u.failed == nil {
		u.failed = err
	}
}

// throughPager reports whether a pager could be started.
func (u *ui) throughPager(text string) (bool, error) {
	for _, words := range pagerCommands() {
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Env = append(os.Environ(), pagerEnvironment(u.unicode)...)
		cmd.Stdout, cmd.Stderr = u.out, u.err
		stdin, err := cmd.StdinPipe()
		if err != nil {
			return false, err
		}
		if cmd.Start() != nil {
			continue
		}
		// Who leaves a pager early has seen enough.
		if _, err := io.WriteString(stdin, text); err != nil && !errors.Is(err, unix.EPIPE) {
			_ = stdin.Close()
			_ = cmd.Wait()
			return true, fmt.Errorf("cannot print the result: %w", err)
		}
		_ = stdin.Close()
		_ = cmd.Wait()
		return true, nil
	}
	return false, nil
}

// pagerCommands are what may be a pager, none if none is wanted. A pager of the
// environment could be told to run programs, so where rights differ from those
// of the session's owner it counts only when he says so.
//
// Reference: pager.c, pager_open.
func pagerCommands() [][]string {
	named, isSet := os.LookupEnv("SYSTEMD_PAGER")
	if !isSet {
		named, isSet = os.LookupEnv("PAGER")
	}
	if isSet {
		words := strings.Fields(named)
		if len(words) == 0 || len(words) == 1 && words[0] == "cat" {
			return nil
		}
		if !otherRights() || os.Getenv("SYSTEMD_PAGERSECURE") != "" {
			return [][]string{words}
		}
	}
	commands := make([][]string, len(pagers))
	for i, name := range pagers {
		commands[i] = []string{name}
	}
	return commands
}

// otherRights reports whether we run with more rights than the session has.
func otherRights() bool {
	return os.Getenv("SUDO_UID") != "" || os.Geteuid() != os.Getuid()
}

func pagerEnvironment(utf8 bool) []string {
	options, isSet := os.LookupEnv("SYSTEMD_LESS")
	if !isSet {
		options = lessOptions
	}
	environment := []string{"LESS=" + options}
	if charset, isSet := os.LookupEnv("SYSTEMD_LESSCHARSET"); isSet {
		environment = append(environment, "LESSCHARSET="+charset)
	} else if utf8 {
		environment = append(environment, "LESSCHARSET="+lessCharset)
	}
	if secure := os.Getenv("SYSTEMD_PAGERSECURE"); secure != "" && secure != "0" || secure == "" && otherRights() {
		environment = append(environment, "LESSSECURE=1")
	}
	return environment
}
