package booted

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Files of this host come to a machine of another one, and back, as they are.
func TestMachdRemoteCopies(t *testing.T) {
	const name = "remote-copy"
	startFarHost(t)
	startGuest(t, name)
	tree := copyTree(t)
	back := filepath.Join(t.TempDir(), "back")
	machctl := func(words ...string) outcome {
		t.Helper()
		return observe(t, append([]string{"machctl", "-H", farHost}, words...)...)
	}
	done := func(words ...string) {
		t.Helper()
		if got := machctl(words...); got.Code != 0 || got.Stderr != "" {
			t.Fatalf("%q: exit status %d\n%s", words, got.Code, got.Stderr)
		}
	}
	done("copy-to", name, tree, "/root/tree")
	done("copy-from", name, "/root/tree", back)
	if want, got := shape(t, tree, 0), shape(t, back, 0); got != want {
		t.Errorf("it went as\n%s\nand came back as\n%s", want, got)
	}
	file := filepath.Join(t.TempDir(), "file")
	run(t, "sh", "-c", `head -c 3000000 /dev/urandom >"$0"; chown 12:34 "$0"; chmod 4711 "$0"`, file)
	done("copy-to", name, file, "/root/file")
	done("copy-from", name, "/root/file", file+".back")
	run(t, "cmp", file, file+".back")
	if got := run(t, "stat", "-c", "%a %u %g", file+".back"); got != "4711 12 34" {
		t.Errorf("it came back as %s", got)
	}
	done("copy-to", "--flat", name, file, "/root/flat")
	if got := run(t, "machctl", "exec", name, "stat", "-c", "%u %g", "/root/flat"); got != "0 0" {
		t.Errorf("flat, it is %s", got)
	}
	done("copy-to", "--force", name, "/etc/hostname", "/root/file")
	if got, want := run(t, "machctl", "exec", name, "cat", "/root/file"), run(t, "cat", "/etc/hostname"); got != want {
		t.Errorf("replaced, it is %q, want %q", got, want)
	}

	for _, row := range []struct {
		words []string
		code  int
		says  string
	}{
		{[]string{"copy-to", name, file, "/root/flat"}, 6, "/root/flat"},
		{[]string{"copy-from", name, "/root/file", file}, 6, file},
		{[]string{"copy-to", name, "/no/such", "/root/x"}, 1, "/no/such"},
		{[]string{"copy-from", name, "/no/such", file + ".x"}, 1, "/no/such"},
		{[]string{"copy-to", "nosuch", file, "/root/x"}, 3, `"nosuch"`},
		{[]string{"copy-from", "nosuch", "/etc/hostname", file + ".x"}, 3, `"nosuch"`},
		{[]string{"copy-from", name, "/etc/hostname", "/no/such/place"}, 1, "/no/such"},
		{[]string{"copy-to", name, file, "relative"}, 1, "relative"},
	} {
		if got := machctl(row.words...); got.Code != row.code || !strings.Contains(got.Stderr, row.says) {
			t.Errorf("%q: exit status %d, want %d with %q\n%s", row.words, got.Code, row.code, row.says, got.Stderr)
		}
	}
	if _, err := os.Lstat(file + ".x"); err == nil {
		t.Error("a copy that failed has left something")
	}
	wantNothingOnItsWay(t, filepath.Dir(file))
	wantNoSSH(t)
}

// wantNothingOnItsWay fails if files on their way were left.
func wantNothingOnItsWay(t *testing.T, dirs ...string) {
	t.Helper()
	if left := onTheirWay(dirs...); len(left) > 0 {
		t.Errorf("there is still %q", left)
	}
}

// onTheirWay are the directories for files that are being copied.
func onTheirWay(dirs ...string) (all []string) {
	for _, dir := range append(dirs, "/var/tmp") {
		for _, pattern := range []string{".machctl-*", ".#machctl-*"} {
			found, _ := filepath.Glob(filepath.Join(dir, pattern))
			all = append(all, found...)
		}
	}
	return all
}

// A copy that is interrupted leaves nothing here and there.
func TestMachdRemoteCopyIsInterrupted(t *testing.T) {
	const name = "remote-cut"
	startFarHost(t)
	startGuest(t, name)
	dir := t.TempDir()
	big := filepath.Join(dir, "big")
	must(t, os.WriteFile(big, nil, 0o644))
	must(t, os.Truncate(big, 100<<30))
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
		tar := exec.Command("tar", "-c", "-C", dir, "big")
		out, err := tar.StdoutPipe()
		must(t, err)
		must(t, tar.Start())
		copying := exec.Command("machctl", "-H", farHost, "copy-to", name, "-", "/root/cut")
		copying.Stdin = out
		must(t, copying.Start())
		eventually(t, "something has come", func() error {
			left := onTheirWay()
			if len(left) != 1 {
				return fmt.Errorf("on their way are %q", left)
			}
			_, err := os.Stat(left[0] + "/files/big")
			return err
		})
		must(t, copying.Process.Signal(signal))
		if err := copying.Wait(); err == nil {
			t.Errorf("%v: it has copied all", signal)
		}
		_ = tar.Process.Kill()
		_ = tar.Wait()
		eventually(t, "nothing is left after "+signal.String(), func() error {
			if left := onTheirWay(); len(left) > 0 {
				return fmt.Errorf("%q", left)
			}
			return nil
		})
	}
	if got := observe(t, "machctl", "exec", name, "ls", "/root/cut"); got.Code == 0 {
		t.Errorf("there is %s", got.Stdout)
	}
	wantNoSSH(t)
}

// A tar archive at standard input or output is what a machine gets or gives.
func TestMachdCopiesOfArchives(t *testing.T) {
	t.Parallel()
	const name = "archive-copy"
	startGuest(t, name)
	tree := copyTree(t)
	out := t.TempDir()
	script := `set -e; tar --format=posix --numeric-owner -C "$1" -c . | machctl copy-to "$0" - /root/tree; machctl copy-from "$0" /root/tree - | tar --numeric-owner -C "$2" -xp`
	run(t, "sh", "-c", script, name, tree, out)
	if want, got := shape(t, tree, 0), shape(t, out, 0); got != want {
		t.Errorf("it went as\n%s\nand came back as\n%s", want, got)
	}
	for script, code := range map[string]int{
		`tar -C /usr/bin -c . | head -c 1000000 | machctl copy-to "$0" - /root/cut`: 1,
		`machctl copy-to "$0" - /root/cut </dev/null`:                               1,
		`echo hello | machctl copy-to "$0" - /root/cut`:                             1,
		`tar -C /etc -c hosts | machctl copy-to "$0" -`:                             2,
		`tar -C /etc -c hosts | machctl copy-to nosuch - /root/cut`:                 3,
		`machctl copy-from "$0" /no/such - >/dev/null`:                              1,
	} {
		if got := observe(t, "sh", "-c", script, name); got.Code != code {
			t.Errorf("%s: exit status %d, want %d\n%s", script, got.Code, code, got.Stderr)
		}
	}
	if got := observe(t, "machctl", "exec", name, "ls", "/root/cut"); got.Code == 0 {
		t.Errorf("of what is no archive there is %s", got.Stdout)
	}
}
