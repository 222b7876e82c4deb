package proc_test

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"github.com/machd/machd/daemon/internal/proc"
)

func TestAProcessIsDescribed(t *testing.T) {
	t.Parallel()
	needRoot(t)
	cmd := exec.Command("sh", "-c", idle)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1234, Gid: 1234}}
	start(t, cmd)
	p := open(t, cmd.Process.Pid)

	if uid, err := p.UID(); uid != 1234 || err != nil {
		t.Errorf("UID = %d, %v, want 1234", uid, err)
	}
	if comm, err := p.Comm(); comm != "sleep" && comm != "sh" || err != nil {
		t.Errorf("Comm = %q, %v", comm, err)
	}
}

func TestParentIsWhoeverHasTheProcessNow(t *testing.T) {
	t.Parallel()
	cmd, line := start(t, exec.Command("sh", "-c", "setsid sh -c 'echo $$; exec sleep 600 >/dev/null' & wait"))
	pid, err := strconv.Atoi(line)
	if err != nil {
		t.Fatal(err)
	}
	grandchild := open(t, pid)
	defer grandchild.Signal(syscall.SIGKILL)
	if parent := parentOf(t, grandchild); parent.PID() != cmd.Process.Pid {
		t.Errorf("the parent is %d, want %d", parent.PID(), cmd.Process.Pid)
	}
	if parent := parentOf(t, open(t, cmd.Process.Pid)); parent.PID() != os.Getpid() {
		t.Errorf("the parent of a child is %d, want %d", parent.PID(), os.Getpid())
	}
	end(cmd)
	if parent := parentOf(t, grandchild); parent.PID() == cmd.Process.Pid || parent.PID() == 0 {
		t.Errorf("the parent of an orphan is %d", parent.PID())
	}
}

func TestPID1HasNoParent(t *testing.T) {
	t.Parallel()
	parent, err := open(t, 1).Parent()
	if parent != nil || err != nil {
		t.Errorf("Parent = %v, %v, want nil", parent, err)
	}
}

func parentOf(t *testing.T, p *proc.PIDFD) *proc.PIDFD {
	t.Helper()
	parent, err := p.Parent()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { parent.Close() })
	return parent
}

func TestIDsOfTheHostAre32HexDigits(t *testing.T) {
	t.Parallel()
	boot, err := proc.BootID()
	if err != nil || len(boot) != 32 {
		t.Errorf("BootID = %q, %v", boot, err)
	}
	machine, err := proc.MachineID()
	if err == nil && len(machine) != 32 {
		t.Errorf("MachineID = %q", machine)
	}
}

func TestChild(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("sh", "-c", "sleep 1000 & echo; wait")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	parent, err := proc.Open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer parent.Close()
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	child, err := parent.Child()
	if err != nil || child == nil {
		t.Fatalf("got %v, %v", child, err)
	}
	defer child.Close()
	none, err := child.Child()
	if none != nil || err != nil {
		t.Errorf("a child's child: %v, %v", none, err)
	}
	_ = child.Signal(syscall.SIGKILL)
	_ = cmd.Wait()
}
