package nsexec

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
)

// A cgroup is that of one command, below its machine's: the machine's limits
// hold for it, and all that the command has started can be ended at once.
type cgroup struct {
	dir  *os.File
	path string
	// record tells the next server that it has to be removed.
	record string
}

// newCgroup makes the cgroup called name below the machine's, and a record of
// it in a directory.
func newCgroup(leader *proc.PIDFD, name, records string) (*cgroup, error) {
	above, err := machineCgroup(leader)
	if err != nil {
		return nil, err
	}
	c := &cgroup{path: filepath.Join(above, name), record: filepath.Join(records, name)}
	if err := os.WriteFile(c.record, []byte(c.path), 0o600); err != nil {
		return nil, fmt.Errorf("cannot remember a command: %w", err)
	}
	if err := os.Mkdir(c.path, 0o755); err != nil {
		os.Remove(c.record)
		return nil, fmt.Errorf("cannot make a cgroup in the machine: %w", err)
	}
	if c.dir, err = os.Open(c.path); err != nil {
		c.remove()
		return nil, fmt.Errorf("cannot open a cgroup: %w", err)
	}
	return c, nil
}

// machineCgroup is the one that the leader sees as its root, or is in.
func machineCgroup(leader *proc.PIDFD) (string, error) {
	own, err := leader.Cgroup()
	if err != nil {
		return "", err
	}
	path, err := proc.InHierarchy(strings.TrimSuffix(own, "/init.scope"))
	if err != nil {
		return "", err
	}
	mount, err := proc.Hierarchy()
	if err != nil {
		return "", err
	}
	return filepath.Join(mount, path), nil
}

// kill ends everything in the cgroup.
func (c *cgroup) kill() error {
	err := os.WriteFile(filepath.Join(c.path, "cgroup.kill"), []byte("1"), 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil // it has gone with its machine
	}
	return err
}

// remove removes the cgroup, if nothing is in it. It reports whether it is gone.
func (c *cgroup) remove() bool {
	err := os.Remove(c.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
		return false
	}
	os.Remove(c.record)
	return true
}

const (
	// emptyLimit is how long what was killed may take to go. What waits for a
	// file system of the machine's may never go.
	emptyLimit = 10 * time.Second
	// emptyPause is between two looks.
	emptyPause = 10 * time.Millisecond
)

// clear ends everything in the cgroup and removes it.
func (c *cgroup) clear(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, emptyLimit)
	defer cancel()
	if err := c.kill(); err != nil {
		return fmt.Errorf("cannot end the processes in %s: %w", c.path, err)
	}
	for !c.remove() {
		select {
		case <-time.After(emptyPause):
		case <-ctx.Done():
			return fmt.Errorf("the processes in %s do not end: %w", c.path, context.Cause(ctx))
		}
	}
	return nil
}

func (c *cgroup) close() { c.dir.Close() }

// sweep removes what a server before has left behind.
func sweep(ctx context.Context, records string) error {
	entries, err := os.ReadDir(records)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, entry := range entries {
		record := filepath.Join(records, entry.Name())
		path, readErr := os.ReadFile(record)
		if readErr != nil {
			err = errors.Join(err, readErr)
			continue
		}
		left := &cgroup{path: string(path), record: record}
		err = errors.Join(err, left.clear(ctx))
	}
	return err
}
