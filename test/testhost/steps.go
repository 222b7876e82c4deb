package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A service is one step on its way. Its exit status comes from PID 1 through a
// FIFO: systemd-run asks the bus for it, and says 0 when a test restarts that.
type service struct {
	*exec.Cmd // systemd-run
	keeper    *keeper
	unit      string
	status    *os.File // the FIFO
}

// run runs one step and returns its exit status.
func (k *keeper) run(ctx context.Context, s step) (int, error) {
	fmt.Print(s.Welcome)
	if s.PTY {
		return k.runOnPTY(ctx, s)
	}
	c, err := k.service(ctx, s, "--pipe")
	if err != nil {
		return 1, err
	}
	if s.Stdin {
		c.Stdin = os.Stdin
	}
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	if s.Filter == nil {
		return c.run(ctx)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return 1, err
	}
	defer r.Close()
	filter := exec.CommandContext(ctx, s.Filter[0], s.Filter[1:]...)
	filter.Stdin, filter.Stdout, filter.Stderr = r, os.Stdout, os.Stderr
	if err := filter.Start(); err != nil {
		w.Close()
		return 1, err
	}
	c.Stdout, c.Stderr = w, w
	status, err := c.run(ctx)
	w.Close()
	return status, errors.Join(err, filter.Wait())
}

// service prepares s as a service of the host. A bare nsenter would keep our
// cgroup, and be part of no unit inside.
func (k *keeper) service(ctx context.Context, s step, options ...string) (*service, error) {
	k.steps++
	unit := fmt.Sprintf("run-step%d.service", k.steps)
	inside := filepath.Join("/run/testhost", unit)
	fifo := fmt.Sprintf("/proc/%d/root%s", k.leader, inside)
	if err := os.MkdirAll(filepath.Dir(fifo), 0o755); err != nil {
		return nil, err
	}
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		return nil, fmt.Errorf("cannot make %s: %w", fifo, err)
	}
	// Open both ways, it is at its end for neither side.
	status, err := os.OpenFile(fifo, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	args := append([]string{"--quiet", "--wait", "--collect", "--service-type=exec", "--unit=" + unit,
		`--property=ExecStopPost=/bin/sh -c "echo $EXIT_CODE $EXIT_STATUS >` + inside + `"`}, options...)
	for _, variable := range s.Env {
		args = append(args, "--setenv="+variable)
	}
	if s.Dir != "" {
		args = append(args, "--working-directory="+s.Dir)
	}
	cmd := k.inside(ctx, "systemd-run", append(append(args, "--"), s.Argv...)...)
	return &service{cmd, k, unit, status}, nil
}

// run runs the service and returns its exit status.
func (s *service) run(ctx context.Context) (int, error) {
	defer s.status.Close()
	told := make(chan string, 1)
	go func() {
		line, err := bufio.NewReader(s.status).ReadString('\n')
		if err == nil {
			told <- line
		}
	}()
	code, err := exitStatus(s.Run())
	if err != nil {
		return 1, err
	}
	select {
	case line := <-told:
		return toldStatus(line), nil
	default:
	}
	// Either the service was never started, or systemd-run did not see its end.
	if code != 0 && !s.alive(ctx) {
		return code, nil
	}
	select {
	case line := <-told:
		return toldStatus(line), nil
	case <-s.keeper.ended:
		return 1, errors.New("the host ended before the command")
	}
}

func (s *service) alive(ctx context.Context) bool {
	state, err := s.keeper.inside(ctx, "systemctl", "show", "--property=ActiveState", "--value", s.unit).Output()
	return err != nil || strings.TrimSpace(string(state)) != "inactive"
}

// toldStatus reads $EXIT_CODE and $EXIT_STATUS: "exited 3", "killed TERM".
func toldStatus(line string) int {
	how, status, _ := strings.Cut(strings.TrimSpace(line), " ")
	code, err := strconv.Atoi(status)
	if how != "exited" || err != nil {
		return 1
	}
	return code
}

func exitStatus(err error) (int, error) {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}
