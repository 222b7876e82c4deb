package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
)

// callCommand returns a command of a virtual machine as one of this machine: it
// has the three files of the one inside, and its exit status.
func callCommand(ctx context.Context, socket string, o order) *exec.Cmd {
	args := append([]string{"call", socket, strings.Join(o.Env, "\n"), "--"}, o.Argv...)
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Args[0] = "testhost"
	return cmd
}

// call is what that command does.
func call(args []string) (int, error) {
	if len(args) < 4 {
		return 2, fmt.Errorf("this command is not for users")
	}
	text, err := json.Marshal(order{Argv: args[3:], Env: strings.Split(args[1], "\n")})
	if err != nil {
		return 1, err
	}
	port, err := net.Dial("unix", args[0])
	if err != nil {
		return 1, err
	}
	defer port.Close()
	l := newLink(port)
	if err := l.send(frameCommand, text); err != nil {
		return 1, err
	}
	end := sync.OnceValue(func() error { return l.send(frameInput, nil) })
	go func() {
		l.copy(frameInput, os.Stdin)
		end()
	}()
	code, err := outcome(l)
	return code, errors.Join(err, end())
}

// outcome passes on what the command writes, until its end.
func outcome(l *link) (int, error) {
	for {
		kind, body, err := l.receive()
		if err != nil {
			return 1, fmt.Errorf("the host ended before the command: %w", err)
		}
		switch kind {
		case frameOutput:
			_, err = os.Stdout.Write(body)
		case frameErrors:
			_, err = os.Stderr.Write(body)
		case frameEnd:
			if len(body) != 1 {
				return 1, io.ErrUnexpectedEOF
			}
			return int(body[0]), nil
		}
		if err != nil {
			return 1, err
		}
	}
}
