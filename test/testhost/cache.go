package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/test/need"
)

// A cache is the folder with the file trees (roots), the state of hosts that
// run (hosts) and the logs of those that failed (logs).
type cache struct{ dir string }

// keptLogs is how many failed runs are remembered.
const keptLogs = 20

func cacheFolder() string {
	if dir := os.Getenv("MACHD_TEST_CACHE"); dir != "" {
		return dir
	}
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, "machd-test")
	}
	return "/var/cache/machd-test"
}

func openCache() (cache, error) {
	dir, err := filepath.Abs(cacheFolder())
	if err != nil {
		return cache{}, err
	}
	return cache{dir}, os.MkdirAll(filepath.Join(dir, "hosts"), 0o755)
}

// prepare makes sure that all a host of these roots needs is on this machine.
func (c cache) prepare(ctx context.Context, roots ...root) error {
	log := &prefixer{w: os.Stderr, prefix: "testhost: "}
	programs := []string{"systemd-nspawn", "nsenter"}
	for _, r := range roots {
		if !c.built(r) {
			programs = append(programs, "mmdebstrap")
			break
		}
	}
	if err := need.Programs(ctx, log, programs...); err != nil {
		return err
	}
	return c.ensure(ctx, log, roots...)
}

// clean removes everything that no running host uses.
func (c cache) clean() error {
	if err := c.reap(); err != nil {
		return err
	}
	live, err := os.ReadDir(c.hosts())
	if err != nil {
		return err
	}
	if len(live) > 0 {
		return fmt.Errorf("%d hosts still run (testhost list)", len(live))
	}
	return os.RemoveAll(c.dir)
}

// saveLogs keeps the logs of a failed host and returns their folder.
func (c cache) saveLogs(h host) (string, error) {
	logs := filepath.Join(c.dir, "logs")
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return "", err
	}
	old, err := os.ReadDir(logs) // sorted, and so by date
	if err != nil {
		return "", err
	}
	for len(old) >= keptLogs {
		os.RemoveAll(filepath.Join(logs, old[0].Name()))
		old = old[1:]
	}
	kept := filepath.Join(logs, time.Now().Format("20060102-150405-")+h.name)
	return kept, os.Rename(filepath.Join(h.dir, "logs"), kept)
}

type lockMode int

const (
	wait lockMode = unix.LOCK_EX
	try  lockMode = unix.LOCK_EX | unix.LOCK_NB
)

var errLocked = errors.New("locked by another process")

// lockFile locks the file for as long as it is open, in this process only.
func lockFile(path string, mode lockMode) (io.Closer, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(file.Fd()), int(mode))
		if err != unix.EINTR {
			break
		}
	}
	if err == unix.EWOULDBLOCK {
		err = errLocked
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("cannot lock %s: %w", path, err)
	}
	return file, nil
}
