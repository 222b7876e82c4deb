package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// agentPorts are the virtio ports of a host that is a virtual machine: one for
// the steps of its run, one for whoever looks in by testhost exec.
const agentPorts = 2

// lonelyPause is how long the agent does not look whether somebody has come: the
// kernel cannot be asked to wait for that.
const lonelyPause = 300 * time.Millisecond

// An order is what a caller has the agent run.
type order struct {
	Argv, Env []string
}

// agent runs, inside of a virtual machine, what is sent to its ports. It ends
// with the machine.
func agent(ctx context.Context) error {
	ports, err := findPorts()
	if err != nil {
		return err
	}
	failed := make(chan error, len(ports))
	for _, path := range ports {
		go func() { failed <- servePort(ctx, path) }()
	}
	return <-failed
}

// findPorts finds our ports by their names; no udev makes links to them.
func findPorts() ([]string, error) {
	names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return nil, err
	}
	var ports []string
	for _, path := range names {
		name, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(string(name), portName) {
			ports = append(ports, filepath.Join("/dev", filepath.Base(filepath.Dir(path))))
		}
	}
	if len(ports) != agentPorts {
		return nil, fmt.Errorf("this machine has the ports %q, want %d of testhost's", ports, agentPorts)
	}
	return ports, nil
}

func servePort(ctx context.Context, path string) error {
	port, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer port.Close()
	for l := newLink(port); ; {
		if err := l.serveNext(ctx); err != nil {
			// Nobody is at the other end, or not any more.
			l.r.Reset(port)
			time.Sleep(lonelyPause)
		}
	}
}

// serveNext waits for a command and runs it.
func (l *link) serveNext(ctx context.Context) error {
	for {
		kind, body, err := l.receive()
		if err != nil {
			return err
		}
		if kind != frameCommand {
			continue // from one who went before his command had ended
		}
		var o order
		if err := json.Unmarshal(body, &o); err != nil {
			return err
		}
		return o.run(ctx, l)
	}
}

// run runs the command with its three files at the other end of l. It ends
// with its caller.
func (o order) run(ctx context.Context, l *link) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, o.Argv[0], o.Argv[1:]...)
	cmd.Env = o.Env
	cmd.Stdout, cmd.Stderr = writerOf{l, frameOutput}, writerOf{l, frameErrors}
	cmd.WaitDelay = time.Second
	input, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return errors.Join(l.send(frameErrors, []byte(err.Error()+"\n")), l.send(frameEnd, []byte{127}))
	}
	passed := make(chan error, 1)
	go func() {
		err := passInput(l, input)
		if err != nil {
			cancel()
		}
		passed <- err
	}()
	code, err := exitStatus(cmd.Wait())
	if err != nil {
		code = 1
	}
	// What is read after this is another command's.
	return errors.Join(l.send(frameEnd, []byte{byte(code)}), <-passed)
}

// passInput returns when the input is at its end, which a caller tells even
// when his command has ended first, or with the reason why it has none.
func passInput(l *link, input io.WriteCloser) error {
	defer input.Close()
	for {
		kind, body, err := l.receive()
		if err != nil {
			return err
		}
		if kind != frameInput {
			return fmt.Errorf("a frame of kind %d among the input", kind)
		}
		if len(body) == 0 {
			return nil
		}
		// A command that does not read its input still runs.
		_, _ = input.Write(body)
	}
}
