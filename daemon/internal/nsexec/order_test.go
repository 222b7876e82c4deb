package nsexec

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machd"
)

var lena = inside.Account{Name: "lena", UID: 1001, GID: 100, Groups: []uint32{27, 44}, Home: "/home/lena", Shell: "/bin/zsh"}

func TestOrderOf(t *testing.T) {
	t.Parallel()
	const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, test := range []struct {
		what  string
		entry Entry
		want  spec
	}{
		{"a command", Entry{Program: "/bin/ls", Account: lena, Command: inside.Command{Args: []string{"ls", "-l"}}}, spec{
			Program: "/bin/ls", Args: []string{"ls", "-l"}, Directory: "/home/lena", ElseRoot: true,
			Env: []string{path, "HOME=/home/lena", "USER=lena", "LOGNAME=lena", "SHELL=/bin/zsh"},
			UID: 1001, GID: 100, Groups: []uint32{27, 44},
		}},
		{"a directory that has to be there, and variables", Entry{Program: "/bin/ls", Account: lena, Command: inside.Command{
			Args: []string{"ls"}, Directory: "/srv", Environment: []string{"HOME=/x", "A=1", "A=2"},
		}}, spec{
			Program: "/bin/ls", Args: []string{"ls"}, Directory: "/srv",
			Env: []string{path, "HOME=/x", "USER=lena", "LOGNAME=lena", "SHELL=/bin/zsh", "A=2"},
			UID: 1001, GID: 100, Groups: []uint32{27, 44},
		}},
		{"a login shell", Entry{Program: "/bin/sh", Account: lena, Command: inside.Command{
			Args: []string{"/bin/sh", "-c", "whatever"}, Shell: true, Terminal: &inside.PTY{},
		}}, spec{
			Program: "/bin/zsh", Args: []string{"-zsh"}, Directory: "/home/lena", ElseRoot: true, Terminal: true,
			Env: []string{path, "HOME=/home/lena", "USER=lena", "LOGNAME=lena", "SHELL=/bin/zsh"},
			UID: 1001, GID: 100, Groups: []uint32{27, 44},
		}},
	} {
		if diff := cmp.Diff(test.want, orderOf(test.entry).Spec); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.what, diff)
		}
	}
}

func TestLikeALeader(t *testing.T) {
	t.Parallel()
	self, err := proc.Open(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	var s spec
	if err := s.like(self); err != nil {
		t.Fatal(err)
	}
	if s.Namespaces&unix.CLONE_NEWUSER != 0 || s.Namespaces&unix.CLONE_NEWNS == 0 {
		t.Errorf("the namespaces are %#x", s.Namespaces)
	}
	has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_CHOWN, 0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := int(s.Bounding >> unix.CAP_CHOWN & 1); got != has {
		t.Errorf("CAP_CHOWN is %d in %#x, and for the kernel %d", got, s.Bounding, has)
	}
	var open unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &open); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(limit{unix.RLIMIT_CORE, open}, s.Limits[unix.RLIMIT_CORE]); diff != "" {
		t.Errorf("a limit (-want +got):\n%s", diff)
	}
}

func TestMishaps(t *testing.T) {
	t.Parallel()
	s := spec{Program: "/bin/x", Args: []string{"x"}, Directory: "/srv", UID: 70000}
	for _, test := range []struct {
		at    stage
		errno unix.Errno
		want  machd.Failure
		says  string
	}{
		{stageProgram, unix.ENOENT, machd.FailureNotFound, "/bin/x"},
		{stageProgram, unix.EACCES, machd.FailureNotExecutable, "permission denied"},
		{stageProgram, unix.ENOEXEC, machd.FailureNotExecutable, "exec format error"},
		{stageDirectory, unix.ENOENT, machd.FailureRefused, `"/srv"`},
		{stageUser, unix.EINVAL, machd.FailureRefused, "no such user ID"},
		{stageNamespaces, unix.EPERM, machd.FailureRefused, "cannot enter its namespaces"},
	} {
		got := mishap{test.at, uint32(test.errno)}.outcome(s, "box")
		if got == nil || got.Failure != test.want || !strings.Contains(got.Message, test.says) || !strings.Contains(got.Message, "in machine box") {
			t.Errorf("%s, %v: %+v", test.at, test.errno, got)
		}
	}
	if got := (mishap{}).outcome(s, "box"); got != nil {
		t.Errorf("nothing has happened: %+v", got)
	}
}

// A client of a server that makes no sense, or has gone, says so.
func TestEnterFailsWithAReason(t *testing.T) {
	t.Parallel()
	self, err := proc.Open(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	entry := Entry{Machine: "box", Leader: self, Program: "/bin/true", Socket: null,
		Command: inside.Command{Args: []string{"true"}, Stdio: [3]*os.File{null, null, null}}}
	path := filepath.Join(t.TempDir(), "socket")
	if err := (Client{path}).Enter(t.Context(), entry); err == nil || !strings.Contains(err.Error(), "machd-exec.socket") {
		t.Errorf("nobody listens: %v", err)
	}
	listener, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.AcceptUnix()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	if err := (Client{path}).Enter(t.Context(), entry); err == nil || !strings.Contains(err.Error(), "box") {
		t.Errorf("the server hangs up: %v", err)
	}
}

// The server ends when it is not needed, and is not disturbed by who asks for
// nonsense.
func TestServerEndsWhenIdle(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "socket")
	listener, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	done := make(chan error, 1)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	go func() { done <- runServer(ctx, listener, filepath.Join(t.TempDir(), "records"), time.Second, log) }()

	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("nonsense")); err != nil {
		t.Fatal(err)
	}
	text := make([]byte, maxAnswer)
	n, err := conn.Read(text)
	if err != nil || !strings.Contains(string(text[:n]), "cannot read what to run") {
		t.Errorf("it answers %q, %v", text[:n], err)
	}
	if err := <-done; err != nil || ctx.Err() != nil {
		t.Errorf("the server ended with %v; %v", err, ctx.Err())
	}
}
