package doctor

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
)

// nspawn is what the kernel calls systemd-nspawn's process.
const nspawn = "systemd-nspawn"

// A process is one of the host, as it was a moment ago.
type process struct {
	pid  int
	comm string
}

// processes are all there are.
func (v *visit) processes() (all []process) {
	entries, _ := os.ReadDir(v.cfg.Paths.Processes)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		comm, err := os.ReadFile(filepath.Join(v.cfg.Paths.Processes, e.Name(), "comm"))
		if err == nil {
			all = append(all, process{pid, trimmed(comm)})
		}
	}
	return all
}

// unregistered returns the systemd-nspawn processes that run no machine we know
// of: one that is starting, or one that does not register. A leader is called
// systemd-nspawn, too, until it has become the machine's init.
func (v *visit) unregistered() (all []process) {
	known := map[int]bool{}
	for _, m := range v.cfg.Machines() {
		if m.Supervisor != nil {
			known[m.Supervisor.PID()] = true
		}
		if m.Leader == nil {
			continue
		}
		known[m.Leader.PID()] = true
		if parent, err := m.Leader.Parent(); err == nil && parent != nil {
			known[parent.PID()] = true
			parent.Close()
		}
	}
	for _, p := range v.processes() {
		if p.comm == nspawn && !known[p.pid] {
			all = append(all, p)
		}
	}
	return all
}

// holding returns by path the processes that have one of the files open.
func (v *visit) holding(ctx context.Context, paths map[string]bool) map[string][]process {
	holders := map[string][]process{}
	for _, p := range v.processes() {
		if ctx.Err() != nil {
			break
		}
		dir := filepath.Join(v.cfg.Paths.Processes, strconv.Itoa(p.pid), "fd")
		descriptors, _ := os.ReadDir(dir)
		for _, d := range descriptors {
			path, err := os.Readlink(filepath.Join(dir, d.Name()))
			if err == nil && paths[path] {
				holders[path] = append(holders[path], p)
			}
		}
	}
	return holders
}
