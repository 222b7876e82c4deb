package proc_test

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/machd/machd/daemon/internal/proc"
)

const base = 100000 // of the ids of a user namespace

// inUserNamespace runs a shell in a user namespace of root's that maps as given.
func inUserNamespace(t *testing.T, script string, uids, gids []syscall.SysProcIDMap) *proc.PIDFD {
	t.Helper()
	needRoot(t)
	cmd := exec.Command("sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: uids,
		GidMappings: gids,
		Credential:  &syscall.Credential{NoSetGroups: true},
	}
	start(t, cmd)
	return open(t, cmd.Process.Pid)
}

func shifted(size int) []syscall.SysProcIDMap {
	return []syscall.SysProcIDMap{{ContainerID: 0, HostID: base, Size: size}}
}

func TestUIDShiftIsTheBaseOfTheOnlyRange(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		uids, gids []syscall.SysProcIDMap
		want       uint32
		err        error
	}{
		{"users and groups alike", shifted(65536), shifted(65536), base, nil},
		{"just enough ids", shifted(65534), shifted(65534), base, nil},
		{"too few ids", shifted(65533), shifted(65533), 0, proc.ErrComplexMapping},
		{"fewer groups than users", shifted(65536), shifted(65535), 0, proc.ErrComplexMapping},
		{
			"two ranges",
			[]syscall.SysProcIDMap{{ContainerID: 0, HostID: base, Size: 65534}, {ContainerID: 65534, HostID: 65534, Size: 1}},
			shifted(65534), 0, proc.ErrComplexMapping,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := inUserNamespace(t, idle, c.uids, c.gids)
			got, err := p.UIDShift()
			if got != c.want || !errors.Is(err, c.err) {
				t.Errorf("UIDShift = %d, %v, want %d, %v", got, err, c.want, c.err)
			}
		})
	}
}

func TestOurOwnUserNamespaceShiftsNothing(t *testing.T) {
	t.Parallel()
	if shift, err := open(t, child(t).Process.Pid).UIDShift(); shift != 0 || err != nil {
		t.Errorf("UIDShift = %d, %v, want 0", shift, err)
	}
}

func TestOwnerIsTheUserOfTheProcessOrOfANamespaceAroundIt(t *testing.T) {
	t.Parallel()
	needRoot(t)
	asUser := exec.Command("sh", "-c", idle)
	asUser.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1234, Gid: 1234}}
	start(t, asUser)
	byUser := exec.Command("unshare", "--user", "--map-root-user", "sh", "-c", idle)
	byUser.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1234, Gid: 1234}}
	start(t, byUser)
	// Root's namespace, and in it one of whoever is root there.
	nested := inUserNamespace(t, "unshare --user sh -c '"+idle+"'& wait", shifted(65536), shifted(65536))

	for _, c := range []struct {
		name   string
		p      *proc.PIDFD
		owners []uint32
		others []uint32
	}{
		{"ours", open(t, child(t).Process.Pid), []uint32{0}, []uint32{1234, 65534}},
		{"a user's", open(t, asUser.Process.Pid), []uint32{1234}, []uint32{0, 1}},
		{"in a user's namespace", open(t, byUser.Process.Pid), []uint32{1234}, []uint32{0, 1, 65534}},
		{"in a namespace of root's", nested, []uint32{0, base}, []uint32{1234, 1, 65534}},
		{"in a namespace inside that", onlyChildOf(t, nested), []uint32{0, base}, []uint32{1234, 1, 65534}},
	} {
		for _, uid := range append(c.owners, c.others...) {
			owned, err := c.p.OwnedBy(uid)
			want := slices.Contains(c.owners, uid)
			if owned != want || err != nil {
				t.Errorf("%s: OwnedBy(%d) = %v, %v, want %v", c.name, uid, owned, err, want)
			}
		}
	}
}

func TestNamespacesAreCompared(t *testing.T) {
	t.Parallel()
	needRoot(t)
	cmd := exec.Command("sh", "-c", idle)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	start(t, cmd)
	p := open(t, cmd.Process.Pid)
	for kind, want := range map[string]bool{"net": false, "mnt": false, "user": true, "pid": true} {
		if same, err := p.SameNamespace(kind); same != want || err != nil {
			t.Errorf("SameNamespace(%q) = %v, %v, want %v", kind, same, err, want)
		}
	}
	if _, err := p.SameNamespace("nothing"); err == nil {
		t.Error("a namespace of no kind was compared")
	}
}

func TestRootIsTheOneOfTheProcess(t *testing.T) {
	t.Parallel()
	needRoot(t)
	root, err := open(t, child(t).Process.Pid).OpenRoot()
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	theirs, err := root.Stat()
	if err != nil {
		t.Fatal(err)
	}
	ours, err := os.Stat("/")
	if err != nil || !os.SameFile(theirs, ours) {
		t.Errorf("the root is another directory, %v", err)
	}
}

func onlyChildOf(t *testing.T, p *proc.PIDFD) *proc.PIDFD {
	t.Helper()
	pid := strconv.Itoa(p.PID())
	data, err := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
	if err != nil {
		t.Skipf("cannot tell the children of a process: %v", err)
	}
	childPID, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	return open(t, childPID)
}
