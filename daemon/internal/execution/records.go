package execution

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/machd/machd/daemon/internal/proc"
)

// records are kept in a directory, so that the next daemon knows which commands
// have lost their caller with the one before: a file for each, called by the
// leader's PID and pidfd ID and the unit.
type records struct{ dir string }

// hostLeader stands for no leader.
const hostLeader = "0-0"

func leaderKey(leader *proc.PIDFD) string {
	if leader == nil {
		return hostLeader
	}
	return fmt.Sprintf("%d-%d", leader.PID(), leader.ID())
}

// add remembers a unit until forget is called.
func (r records) add(leader *proc.PIDFD, unit string) (forget func(), err error) {
	path := filepath.Join(r.dir, leaderKey(leader)+" "+unit)
	err = os.WriteFile(path, nil, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(r.dir, 0o700); err == nil {
			err = os.WriteFile(path, nil, 0o600)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot remember a command: %w", err)
	}
	return func() { _ = os.Remove(path) }, nil
}

func (r records) list() (names []string) {
	entries, _ := os.ReadDir(r.dir) // most often there is none
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// The pauses between two attempts to end a command of the daemon before us: the
// machine's service manager is silent while it boots or executes itself anew, and
// for as long as it is frozen.
const (
	endPause        = 5 * time.Second
	endPauseLongest = 30 * time.Second
)

// sweep ends the commands of the daemon before us, and forgets them. It tries
// until ctx ends.
func (s *Set) sweep(ctx context.Context) {
	var sweeping sync.WaitGroup
	for _, name := range s.left {
		key, unit, _ := strings.Cut(name, " ")
		sweeping.Go(func() {
			warned := false
			for pause := endPause; ; pause = min(2*pause, endPauseLongest) {
				err := s.endForgotten(ctx, key, unit)
				if err == nil {
					os.Remove(filepath.Join(s.Records, name))
					return
				}
				if !warned {
					s.Log.Warn("Cannot end a command yet that a daemon before has left behind.", "unit", unit, "error", err)
					warned = true
				}
				select {
				case <-time.After(pause):
				case <-ctx.Done():
					return
				}
			}
		})
	}
	sweeping.Wait()
}

func (s *Set) endForgotten(ctx context.Context, key, unit string) error {
	if key == hostLeader {
		return s.Inside.StopCommand(ctx, nil, unit)
	}
	var pid int
	var id uint64
	if _, err := fmt.Sscanf(key, "%d-%d", &pid, &id); err != nil {
		return nil // no record of ours
	}
	leader, err := proc.Open(pid)
	if err != nil {
		return nil // gone, and the command with it
	}
	defer leader.Close()
	if leader.ID() != id || !leader.Alive() {
		return nil
	}
	return s.Inside.StopCommand(ctx, leader, unit)
}
