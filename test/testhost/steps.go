package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// A service is one step on its way. Its exit status comes from PID 1 through a
// file: systemd-run asks the bus for it, and says 0 when a test restarts that.
type service struct {
	*exec.Cmd // systemd-run
	keeper    *keeper
	unit      string
	status    string // the file, inside
}

// run runs one step and returns its exit status.
func (k *keeper) run(ctx context.Context, s step) (int, error) {
	fmt.Print(s.Welcome)
	if s.PTY {
		return k.runOnPTY(ctx, s)
	}
	c := k.service(ctx, s, "--pipe")
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
func (k *keeper) service(ctx context.Context, s step, options ...string) *service {
	k.steps++
	unit := fmt.Sprintf("run-step%d.service", k.steps)
	status := "/run/testhost/" + unit
	args := append([]string{"--quiet", "--wait", "--collect", "--service-type=exec", "--unit=" + unit,
		`--property=ExecStopPost=/bin/sh -c "mkdir -p /run/testhost; echo $EXIT_CODE $EXIT_STATUS >` + status + `"`}, options...)
	for _, variable := range s.Env {
		args = append(args, "--setenv="+variable)
	}
	if s.Dir != "" {
		args = append(args, "--working-directory="+s.Dir)
	}
	cmd := k.inside(ctx, "systemd-run", append(append(args, "--"), s.Argv...)...)
	return &service{cmd, k, unit, status}
}

// run runs the service and returns its exit status.
func (s *service) run(ctx context.Context) (int, error) {
	code, err := exitStatus(s.Run())
	if err != nil {
		return 1, err
	}
	// Either the service was never started, or systemd-run did not see its end.
	for alive := true; ; alive = s.alive(ctx) {
		told, err := s.keeper.inside(ctx, "cat", s.status).Output()
		if err == nil {
			return toldStatus(string(told)), nil
		}
		if !alive {
			return max(code, 1), nil
		}
		select {
		case <-s.keeper.ended:
			return 1, errors.New("the host ended before the command")
		case <-time.After(100 * time.Millisecond):
		}
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
