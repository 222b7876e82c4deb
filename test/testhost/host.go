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
	"strconv"
	"time"
)

// A host is what one boot owns outside of its name spaces: a folder and a
// cgroup, both with its name, and a lock that says that it lives.
type host struct {
	name  string
	dir   string // spec.json, keeper, devices, logs/, fs/ (a tmpfs, inside only)
	group string // folder of its cgroup
}

// A spec tells the contained program (keep) which host to boot and what to run.
type spec struct {
	Name, Dir, Group string
	Lower            string            // the cached root, with layers above it
	Virtual          bool              // a virtual machine, not a container
	Guests           map[string]string // name -> cached root
	Repo             string
	Machd            machdMode
	Binds            []string
	Steps            []step
	Quiet            bool
	Files            string // shown at filesInside

	host   root
	guests []root
}

type machdMode string

const (
	machdAbsent    machdMode = "absent"
	machdInstalled machdMode = "installed"
	machdEnabled   machdMode = "enabled"
)

// A step is one command run in the host as a service.
type step struct {
	Argv    []string
	Env     []string
	Dir     string   // working directory inside
	Filter  []string // a command of this machine that its output goes through
	Stdin   bool     // ours is the command's
	PTY     bool     // on a terminal of the host, which ours is a window to
	Welcome string   // printed before
}

func (c cache) hosts() string { return filepath.Join(c.dir, "hosts") }

// boot boots a host as s says, runs its steps and removes the host. It
// returns the exit status of the first step that failed.
func (c cache) boot(ctx context.Context, s spec) (int, error) {
	if err := c.reap(); err != nil {
		return 1, err
	}
	h, lock, err := c.newHost()
	if err != nil {
		return 1, err
	}
	defer lock.Close()

	code, err := h.run(ctx, s)
	if code != 0 && ctx.Err() == nil && !s.Quiet {
		if kept, err := c.saveLogs(h); err == nil {
			fmt.Fprintf(os.Stderr, "testhost: journal and console of the host: %s\n", kept)
		}
	}
	return code, errors.Join(err, c.end(h))
}

// lockHosts has making, removing and reaping exclude each other: nobody reaps a
// host before its lock, or makes a lock anew in what is half removed, and the
// cgroup that all are in goes while nobody makes one below it.
func (c cache) lockHosts() (io.Closer, error) {
	return lockFile(filepath.Join(c.dir, "hosts.lock"), wait)
}

// newHost makes the folder and the cgroup, and locks the host.
func (c cache) newHost() (host, io.Closer, error) {
	all, err := c.lockHosts()
	if err != nil {
		return host{}, nil, err
	}
	defer all.Close()

	h, err := c.hostNamed(hostName(os.Getpid()))
	if err != nil {
		return host{}, nil, err
	}
	for _, dir := range []string{"logs", "fs"} {
		if err := os.MkdirAll(filepath.Join(h.dir, dir), 0o755); err != nil {
			return host{}, nil, err
		}
	}
	lock, err := lockFile(filepath.Join(h.dir, "lock"), try)
	if err != nil {
		return host{}, nil, err
	}
	return h, lock, h.makeGroup()
}

// hostName: the tool with this PID has one host at a time.
func hostName(pid int) string { return "h" + strconv.Itoa(pid) }

func (c cache) hostNamed(name string) (host, error) {
	base, err := cgroupMount()
	return host{name, filepath.Join(c.hosts(), name), filepath.Join(base, "machd-test", name)}, err
}

// run starts the contained program for h and waits for it.
func (h host) run(ctx context.Context, s spec) (int, error) {
	s.Name, s.Dir, s.Group = h.name, h.dir, h.group
	data, err := json.MarshalIndent(s, "", "\t")
	if err != nil {
		return 1, err
	}
	if err := os.WriteFile(filepath.Join(h.dir, "spec.json"), data, 0o644); err != nil {
		return 1, err
	}
	group, err := os.Open(filepath.Join(h.group, "keeper"))
	if err != nil {
		return 1, err
	}
	defer group.Close()
	defer saveTerminal(os.Stdin)()

	err = contained(ctx, group, os.Stdout, os.Stderr, "keep", h.dir)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 1, fmt.Errorf("the host ended: %w", err)
	}
	return 0, nil
}

// end removes our own host.
func (c cache) end(h host) error {
	all, err := c.lockHosts()
	if err != nil {
		return err
	}
	defer all.Close()
	return h.remove()
}

// remove removes what is left of a host none of whose processes is wanted.
func (h host) remove() error {
	return errors.Join(h.removeGroup(), h.detachLoops(), os.RemoveAll(h.dir))
}

// reap removes the hosts whose tool was killed: their locks are free.
func (c cache) reap() error {
	all, err := c.lockHosts()
	if err != nil {
		return err
	}
	defer all.Close()

	entries, err := os.ReadDir(c.hosts())
	if err != nil {
		return err
	}
	for _, entry := range entries {
		h, err := c.hostNamed(entry.Name())
		if err != nil {
			return err
		}
		lock, err := lockFile(filepath.Join(h.dir, "lock"), try)
		if errors.Is(err, errLocked) {
			continue // alive
		}
		if err != nil {
			return err
		}
		err = h.remove()
		lock.Close()
		if err != nil {
			return fmt.Errorf("cannot remove the host %s that was left behind: %w", h.name, err)
		}
		fmt.Fprintf(os.Stderr, "testhost: removed %s, left behind by a killed run\n", h.name)
	}
	return nil
}

// list prints the hosts that run, with the time since their start.
func (c cache) list(w io.Writer) error {
	if err := c.reap(); err != nil {
		return err
	}
	entries, err := os.ReadDir(c.hosts())
	if err != nil {
		return err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			continue
		}
		fmt.Fprintf(w, "%s\t%s\n", entry.Name(), time.Since(info.ModTime()).Round(time.Second))
	}
	return nil
}
