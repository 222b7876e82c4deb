package registrant_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/auth"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/registrant"
	"github.com/machd/machd/pkg/machine1"
)

// child starts a process of uid that does nothing until the test ends.
func child(t *testing.T, uid uint32) *proc.PIDFD {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if uid != uint32(os.Getuid()) {
		if os.Getuid() != 0 {
			t.Skip("needs root to start a process of another user")
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := proc.Open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	return p
}

func deadPID(t *testing.T) int64 {
	t.Helper()
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return int64(cmd.Process.Pid)
}

// self is this process as a caller of uid.
func self(t *testing.T, uid uint32) auth.Caller {
	t.Helper()
	p, err := proc.Open(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return auth.Caller{UID: uid, PIDFD: p}
}

func dup(t *testing.T, p *proc.PIDFD) *proc.PIDFD {
	t.Helper()
	d, err := p.Dup()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestPin(t *testing.T) {
	t.Parallel()
	other := child(t, uint32(os.Getuid()))
	own, pid := os.Getpid(), other.PID()
	for name, tt := range map[string]struct {
		leader     registrant.Leader
		pid        int
		supervisor int // 0 for none
	}{
		"nobody named":              {registrant.Leader{}, own, 0},
		"the caller itself":         {registrant.Leader{PID: int64(own)}, own, 0},
		"another process":           {registrant.Leader{PID: int64(pid)}, pid, own},
		"with its ID":               {registrant.Leader{PID: int64(pid), ID: other.ID()}, pid, own},
		"by descriptor":             {registrant.Leader{Process: dup(t, other)}, pid, own},
		"by descriptor, confirmed":  {registrant.Leader{Process: dup(t, other), PID: int64(pid), ID: other.ID()}, pid, own},
		"by descriptor with its ID": {registrant.Leader{Process: dup(t, other), ID: other.ID()}, pid, own},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := registrant.Pin(self(t, 0), tt.leader)
			if err != nil {
				t.Fatal(err)
			}
			var r machine.Registration
			p.HandOver(&r)
			p.Close()
			defer r.Leader.Close()
			supervisor := 0
			if r.Supervisor != nil {
				defer r.Supervisor.Close()
				supervisor = r.Supervisor.PID()
			}
			if r.Leader.PID() != tt.pid || supervisor != tt.supervisor {
				t.Errorf("leader %d, supervisor %d; want %d, %d", r.Leader.PID(), supervisor, tt.pid, tt.supervisor)
			}
			if !r.Leader.Alive() {
				t.Error("the leader was closed")
			}
			if !strings.HasPrefix(r.CallerCgroup, "/") {
				t.Errorf("cgroup of the caller: %q", r.CallerCgroup)
			}
		})
	}
}

func TestPinRefuses(t *testing.T) {
	t.Parallel()
	other := child(t, uint32(os.Getuid()))
	pid := int64(other.PID())
	for name, tt := range map[string]struct {
		leader registrant.Leader
		want   error
	}{
		"PID 1":                              {registrant.Leader{PID: 1}, machine1.ErrInvalidArgs},
		"a negative PID":                     {registrant.Leader{PID: -1}, machine1.ErrInvalidArgs},
		"a PID beyond all":                   {registrant.Leader{PID: 1 << 31}, machine1.ErrInvalidArgs},
		"a process that is gone":             {registrant.Leader{PID: deadPID(t)}, unix.ESRCH},
		"an ID alone":                        {registrant.Leader{ID: 5}, machine1.ErrInvalidArgs},
		"the ID of another process":          {registrant.Leader{PID: pid, ID: other.ID() + 1}, unix.ESRCH},
		"a descriptor and another PID":       {registrant.Leader{Process: dup(t, other), PID: pid + 1}, machine1.ErrInvalidArgs},
		"a descriptor and another ID":        {registrant.Leader{Process: dup(t, other), ID: other.ID() + 1}, machine1.ErrInvalidArgs},
		"a descriptor and an impossible PID": {registrant.Leader{Process: dup(t, other), PID: 1}, machine1.ErrInvalidArgs},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := registrant.Pin(self(t, 0), tt.leader)
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, %v; want %v", p, err, tt.want)
			}
			if owned := tt.leader.Process; owned != nil && owned.Alive() {
				t.Error("the descriptor is still open")
			}
		})
	}
	if _, err := registrant.Pin(auth.Caller{}, registrant.Leader{}); !errors.Is(err, unix.ESRCH) {
		t.Errorf("without any process: got %v", err)
	}
}

// answer is what polkit would say.
type answer struct {
	verdict auth.Verdict
	err     error
}

func (a answer) Decide(context.Context, auth.Caller, access.Question) (auth.Verdict, error) {
	return a.verdict, a.err
}

func TestAuthorize(t *testing.T) {
	t.Parallel()
	const alice, bob = 61234, 61235
	yes := answer{}
	for name, tt := range map[string]struct {
		caller, owner uint32
		polkit        answer
		want          string
	}{
		"root registers anything":                {0, bob, yes, ""},
		"a user registers a process of her own":  {alice, alice, yes, ""},
		"a user registers a process of another":  {alice, bob, yes, "Only privileged users may register machines for other users"},
		"a user registers a process of root":     {alice, 0, yes, "Only privileged users may register machines for other users"},
		"an administrator registers for another": {alice, bob, answer{auth.Verdict{Admin: true}, nil}, ""},
		"polkit is asked first":                  {alice, bob, answer{err: machine1.ErrInteractionRequired}, machine1.ErrInteractionRequired.Error()},
		"polkit refuses a process of the user's": {alice, alice, answer{err: machine1.ErrAccessDenied}, machine1.ErrAccessDenied.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if os.Getuid() != 0 {
				t.Skip("needs root to start processes of several users")
			}
			p, err := registrant.Pin(self(t, tt.caller), registrant.Leader{PID: int64(child(t, tt.owner).PID())})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			got := ""
			if err := p.Authorize(t.Context(), tt.polkit, access.Question{}); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestQuestion(t *testing.T) {
	t.Parallel()
	got := []access.Question{
		registrant.Question("m", machine1.ClassVM, true),
		registrant.Question("m", "", false),
	}
	want := []access.Question{
		{Rule: access.Rule{Action: "org.freedesktop.machine1.create-machine"}, Details: map[string]string{"name": "m", "class": "vm"}},
		{Rule: access.Rule{Action: "org.freedesktop.machine1.register-machine"}, Details: map[string]string{"name": "m"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
