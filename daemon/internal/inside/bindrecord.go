package inside

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/wholefile"
)

// bindDir is where the record of our mounts is kept.
const bindDir = "/run/machd/binds"

// maxRecorded bounds the mounts remembered for one machine. The oldest are
// forgotten first.
const maxRecorded = 4096

// A bindRecord remembers which mounts in machines are ours. The kernel does not
// know it: a machine can bind mount what we have shown it, and systemd-nspawn
// mounts files of the host as well. It is kept in files, so that a daemon that
// was started again still knows, and nowhere else: a file for each leader, with
// the number of a mount in each line. The kernel gives no number twice, so one
// too many does no harm.
type bindRecord struct {
	dir string
	mu  sync.Mutex
}

// has reports whether the mount id in leader's machine is ours.
func (r *bindRecord) has(leader *proc.PIDFD, id uint64) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ids, err := r.read(leader)
	return slices.Contains(ids, id), err
}

func (r *bindRecord) add(leader *proc.PIDFD, id uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	ids, err := r.read(leader)
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		r.sweep()
	}
	ids = append(ids, id)
	return r.write(leader, ids[max(0, len(ids)-maxRecorded):])
}

func (r *bindRecord) remove(leader *proc.PIDFD, id uint64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	ids, err := r.read(leader)
	if err != nil {
		return err
	}
	return r.write(leader, slices.DeleteFunc(ids, func(one uint64) bool { return one == id }))
}

func (r *bindRecord) path(leader *proc.PIDFD) string {
	return filepath.Join(r.dir, fmt.Sprintf("%d-%d", leader.PID(), leader.ID()))
}

func (r *bindRecord) read(leader *proc.PIDFD) ([]uint64, error) {
	data, err := os.ReadFile(r.path(leader))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read which mounts are ours: %w", err)
	}
	var ids []uint64
	for line := range strings.Lines(string(data)) {
		// A line that makes no sense is the fault of a full disk.
		if id, err := strconv.ParseUint(strings.TrimSuffix(line, "\n"), 10, 64); err == nil {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// write replaces the file. One without mounts goes.
func (r *bindRecord) write(leader *proc.PIDFD, ids []uint64) error {
	path := r.path(leader)
	if len(ids) == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot forget which mounts were ours: %w", err)
		}
		return nil
	}
	var text []byte
	for _, id := range ids {
		text = append(strconv.AppendUint(text, id, 10), '\n')
	}
	err := os.MkdirAll(r.dir, 0o700)
	if err == nil {
		err = wholefile.Write(path, text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot remember which mounts are ours: %w", err)
	}
	return nil
}

// sweep forgets the mounts of leaders that are gone.
func (r *bindRecord) sweep() {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return
	}
	for _, entry := range entries {
		if !leaderLives(entry.Name()) {
			os.Remove(filepath.Join(r.dir, entry.Name()))
		}
	}
}

// leaderLives reports whether the process that a file is named after still
// runs.
func leaderLives(name string) bool {
	pid, id, _ := strings.Cut(name, "-")
	number, err := strconv.Atoi(pid)
	if err != nil {
		return false
	}
	p, err := proc.Open(number)
	if err != nil {
		return false
	}
	defer p.Close()
	return p.Alive() && strconv.FormatUint(p.ID(), 10) == id
}
