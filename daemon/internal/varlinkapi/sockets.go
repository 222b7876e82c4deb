package varlinkapi

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/task"
	"github.com/machd/machd/daemon/internal/varlink"
	"github.com/machd/machd/pkg/machine1"
)

// Paths are where the API is reached. An empty one is not served.
type Paths struct {
	Machine, Image string // of io.systemd.Machine and its like: both names lead to the same
	UserDatabase   string
	Hook           string // of systemd-resolved
	Mode           fs.FileMode
}

// SystemPaths are those of the system's daemon.
func SystemPaths() Paths {
	return Paths{
		Machine:      machine1.VarlinkSocket,
		Image:        machine1.VarlinkSocket + "Image",
		UserDatabase: "/run/systemd/userdb/" + providerName,
		Hook:         "/run/systemd/resolve.hook/" + providerName,
		Mode:         0o666,
	}
}

// UserPaths are those of a user's daemon; runtimeDir is $XDG_RUNTIME_DIR.
func UserPaths(runtimeDir string) Paths {
	machine := filepath.Join(runtimeDir, "systemd/machine", providerName)
	return Paths{Machine: machine, Image: machine + "Image", Mode: 0o600}
}

// Sockets are what Serve accepts connections from.
type Sockets struct{ machine, users, hook []*net.UnixListener }

// Listen opens the sockets at paths, but for those of the first kind if
// systemd has passed some, and one at extra, if that is not empty: the value
// of $SYSTEMD_VARLINK_LISTEN, a path or "@" and a name. What the names of
// users and hosts are looked up by can be missing: the daemon is of use
// without it.
//
// Reference: machined-varlink.c, manager_varlink_init.
func Listen(paths Paths, passed []*net.UnixListener, extra string, log *slog.Logger) (_ Sockets, err error) {
	s := Sockets{machine: passed}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if len(passed) > 0 {
		for _, l := range passed {
			varlink.Mark(l, paths.Machine)
		}
		if err := varlink.Link(paths.Machine, paths.Image); err != nil {
			log.Warn("Cannot make a second name of the Varlink socket.", "error", err)
		}
	} else if err := s.bind(paths); err != nil {
		return s, err
	}
	if extra != "" {
		l, err := listenAt(extra, paths.Mode)
		if err != nil {
			return s, err
		}
		s.machine = append(s.machine, l)
	}
	s.users = optional(paths.UserDatabase, paths.Mode, log)
	if len(s.users) > 0 {
		markUsers(paths.UserDatabase)
	}
	s.hook = optional(paths.Hook, paths.Mode, log)
	return s, nil
}

func (s *Sockets) bind(paths Paths) error {
	for _, path := range []string{paths.Machine, paths.Image} {
		l, err := varlink.Listen(path, paths.Mode)
		if err != nil {
			return err
		}
		varlink.Mark(l, path)
		s.machine = append(s.machine, l)
	}
	return nil
}

func listenAt(address string, mode fs.FileMode) (*net.UnixListener, error) {
	switch {
	case strings.HasPrefix(address, "@"):
		return net.ListenUnix("unix", &net.UnixAddr{Name: address, Net: "unix"})
	case strings.HasPrefix(address, "/"):
		return varlink.Listen(address, mode)
	}
	return nil, fmt.Errorf("cannot listen at %q, as $SYSTEMD_VARLINK_LISTEN says: it is neither an absolute path nor \"@\" and a name", address)
}

func optional(path string, mode fs.FileMode, log *slog.Logger) []*net.UnixListener {
	if path == "" {
		return nil
	}
	l, err := varlink.Listen(path, mode)
	if err != nil {
		log.Warn("Cannot serve names of machines.", "path", path, "error", err)
		return nil
	}
	varlink.Mark(l, path)
	return []*net.UnixListener{l}
}

// markUsers tells which users and groups can be found at path at all, so that
// nobody looks for others there. Few kernels have attributes on sockets.
//
// Reference: machined-varlink.c, manager_varlink_init_userdb [261].
func markUsers(path string) {
	for name, value := range map[string]string{
		"user.userdb.uid":       "65536-4294967294",
		"user.userdb.gid":       "65536-4294967294",
		"user.userdb.username":  userAccounts.prefix + "*",
		"user.userdb.groupname": groupAccounts.prefix + "*",
	} {
		unix.Lsetxattr(path, name, []byte(value), 0)
	}
}

// Close closes what Serve has not been called with.
func (s Sockets) Close() {
	for _, list := range [][]*net.UnixListener{s.machine, s.users, s.hook} {
		for _, l := range list {
			l.Close()
		}
	}
}

// Serve answers on s, which it closes, until ctx ends. Sockets that were bound
// and not passed are removed then.
func (a *API) Serve(ctx context.Context, s Sockets) error {
	var tasks []task.Task
	for _, kind := range []struct {
		server *varlink.Server
		on     []*net.UnixListener
	}{{a.machineServer, s.machine}, {a.userServer, s.users}, {a.hookServer, s.hook}} {
		for _, l := range kind.on {
			tasks = append(tasks, func(ctx context.Context) error { return kind.server.Serve(ctx, l) })
		}
	}
	return task.Run(ctx, tasks...)
}
