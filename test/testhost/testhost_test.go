package main

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// tool builds the program under test.
func tool(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("booting a host needs root")
	}
	path := filepath.Join(t.TempDir(), "testhost")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

func TestRunBringsBackStatusAndBothOutputs(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), tool(t), "run", "--stock", "--quiet", "--", "sh", "-c", "cat; echo wrong >&2; exit 7")
	cmd.Stdin = strings.NewReader("typed")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("got %v, want exit status 7", err)
	}
	if out.String() != "typed" || !strings.HasSuffix(errs.String(), "wrong\n") {
		t.Errorf("got %q and %q", out.String(), errs.String())
	}
}

func TestTheCommandIsAServiceOfTheHost(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), tool(t), "run", "--stock", "--", "cat", "/proc/self/cgroup").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), "0::/system.slice/run-") {
		t.Errorf("the command's cgroups are\n%s", out)
	}
}

// busy is a host with all that a host can leave behind.
const busy = "truncate -s 10M /var/tmp/image && losetup -f --show /var/tmp/image && machinectl start c8-ns && " +
	"systemd-run -q --unit=left sleep 54321 && echo up && sleep 54321"

func TestNothingIsLeftWhenTheToolEnds(t *testing.T) {
	t.Parallel()
	for name, signal := range map[string]unix.Signal{
		"interrupted": unix.SIGINT, "terminated": unix.SIGTERM, "hung up": unix.SIGHUP, "killed": unix.SIGKILL,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := tool(t)
			cmd := exec.CommandContext(t.Context(), path, "run", "--stock", "--", "sh", "-c", busy)
			cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(out)
			lines.Scan()
			loop := strings.TrimPrefix(lines.Text(), "/dev/")
			for lines.Text() != "up" && lines.Scan() {
			}
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			cmd.Wait()
			if signal == unix.SIGKILL {
				// Processes end by themselves, the rest with the next run.
				if out, err := exec.CommandContext(t.Context(), path, "list").CombinedOutput(); err != nil {
					t.Fatalf("testhost list: %v\n%s", err, out)
				}
			}
			wantGone(t, loop, cmd.Process.Pid)
		})
	}
}

func wantGone(t *testing.T, loop string, pid int) {
	t.Helper()
	c, err := openCache()
	if err != nil {
		t.Fatal(err)
	}
	h, err := c.hostNamed(hostName(pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{h.dir, h.group} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
	file, err := os.ReadFile(filepath.Join("/sys/block", loop, "loop/backing_file"))
	if err == nil && strings.Contains(string(file), "/var/tmp/image") && !reused(t, c) {
		t.Errorf("%s is still attached to %s", loop, file)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), h.dir) {
		t.Errorf("mounts are left:\n%s", mounts)
	}
}

// reused says whether other hosts run, which may have taken the loop device.
func reused(t *testing.T, c cache) bool {
	t.Helper()
	hosts, err := os.ReadDir(c.hosts())
	if err != nil {
		t.Fatal(err)
	}
	return len(hosts) > 0
}

func TestTheStatusSurvivesARestartOfTheBus(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), tool(t), "run", "--stock", "--quiet", "--", "sh", "-c",
		"systemctl restart dbus-broker; systemctl is-active dbus-broker; sleep 0.5; echo end; exit 9")
	out, err := cmd.Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 9 {
		t.Errorf("got %v, want exit status 9", err)
	}
	if want := "active\nend\n"; string(out) != want {
		t.Errorf("got %q, want %q", out, want)
	}
}

func TestACommandThatIsNotThereFails(t *testing.T) {
	t.Parallel()
	err := exec.CommandContext(t.Context(), tool(t), "run", "--stock", "--quiet", "--", "no-such-command").Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Errorf("got %v, want a failure", err)
	}
}

func TestACommandThatIsKilledFails(t *testing.T) {
	t.Parallel()
	err := exec.CommandContext(t.Context(), tool(t), "run", "--stock", "--quiet", "--", "sh", "-c", "kill -9 $$").Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Errorf("got %v, want a failure", err)
	}
}
