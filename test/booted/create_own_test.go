package booted

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/test/live"
)

// packageMirror is where the hosts have packages of their own distribution.
const packageMirror = "file:///opt/debian"

// hostSuite is the distribution of the host, as an image can be made of it.
func hostSuite(t *testing.T) string {
	t.Helper()
	suites, err := os.ReadDir("/opt/debian/dists")
	must(t, err)
	return "debian:" + suites[0].Name()
}

// imagesGoAfter has images and their snapshots go with the test.
func imagesGoAfter(t *testing.T, names ...string) {
	t.Helper()
	t.Cleanup(func() {
		for _, name := range names {
			observe(t, "systemctl", "stop", "machd-create-"+strings.ReplaceAll(name, "-", `\x2d`)+".service")
			observe(t, "machctl", "stop", "--if-running", name)
			run(t, "bash", "-c", fmt.Sprintf("rm -rf /var/lib/machines/%[1]s /var/lib/machines/%[1]s.raw /var/lib/machines/.%[1]s@* /var/lib/machines/.#*%[1]s*", name))
		}
	})
}

// fakeDebootstrap puts a script in the place of debootstrap. TREE stands for the
// directory that it is to fill.
func fakeDebootstrap(t *testing.T, script string) {
	t.Helper()
	const path = "/usr/local/sbin/debootstrap"
	text := "#!/bin/bash\nTREE=${@: -2:1}\n" + script
	must(t, os.WriteFile(path, []byte(text), 0o755))
	t.Cleanup(func() { os.Remove(path) })
}

// slowDebootstrap begins, mounts something as the real one does, and does not end.
const slowDebootstrap = `
mkdir -p $TREE/etc $TREE/proc; echo half >$TREE/etc/half
mount -t proc proc $TREE/proc
echo I: half of it is there
sleep 1000 & wait
`

// creating begins to make an image, and returns when half of it is there.
func creating(t *testing.T, name string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("machctl", "create", name, "--from", "debian:13", "--verify=no")
	cmd.Stderr = t.Output()
	must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	eventually(t, "half of the image is there", func() error {
		halves, err := filepath.Glob(filepath.Join(guests, ".#machd-draft-"+name+".*", "root/etc/half"))
		if err == nil && len(halves) != 1 {
			err = fmt.Errorf("there is %q", halves)
		}
		return err
	})
	return cmd
}

// wantNoTrace wants nothing to be left of an image that was not made.
func wantNoTrace(t *testing.T, name string) {
	t.Helper()
	eventually(t, "nothing is left of "+name, func() error {
		all, err := filepath.Glob(filepath.Join(guests, "*"+name+"*"))
		hidden, hiddenErr := filepath.Glob(filepath.Join(guests, ".*"+name+"*"))
		locks, _ := filepath.Glob("/run/systemd/nspawn/locks/name-" + name)
		if all = append(append(all, hidden...), locks...); err == nil && hiddenErr == nil && len(all) > 0 {
			err = fmt.Errorf("there is %q", all)
		}
		return err
	})
	eventually(t, "its unit has gone", func() error {
		if o := observe(t, "systemctl", "list-units", "--all", "--no-legend", "machd-create-*"); o.Stdout != "" {
			return errors.New(o.Stdout)
		}
		return nil
	})
	if o := observe(t, "grep", "-c", ".#machd-draft-"+name, "/proc/self/mountinfo"); o.Stdout != "0\n" {
		t.Errorf("mounts are left: %s", o.Stdout)
	}
}

// TestMachdCreatesADebian makes a system of packages, as people do, and logs in to
// it.
func TestMachdCreatesADebian(t *testing.T) {
	imagesGoAfter(t, "web")
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "secret"), []byte("c8 secret\n"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "key.pub"), []byte("ssh-ed25519 AAAAC3Nza c8@host\n"), 0o644))
	refused := observe(t, "machctl", "create", "web", "--from", hostSuite(t), "--mirror", packageMirror)
	if refused.Code != 1 || !strings.Contains(refused.Stderr, "signature") {
		t.Errorf("of packages that nobody has signed: %+v", refused)
	}
	wantNoTrace(t, "web")

	begun := time.Now()
	out, err := exec.Command("machctl", "create", "web", "--from", hostSuite(t), "--mirror", packageMirror, "--verify=no",
		"--root-password-file", filepath.Join(dir, "secret"), "--ssh-key", filepath.Join(dir, "key.pub")).CombinedOutput()
	if said := string(out); err != nil || !strings.Contains(said, "I: Base system installed successfully.") || !strings.Contains(said, "machctl: made web of ") {
		t.Fatalf("%v\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	t.Logf("%s; %v", lines[len(lines)-1], time.Since(begun).Round(time.Second))
	if again := observe(t, "machctl", "create", "web", "--from", "machine:tiny"); again.Code != 6 {
		t.Errorf("once more: %+v", again)
	}
	run(t, "machctl", "start", "web")
	if is := observe(t, "machctl", "exec", "web", "--", "systemctl", "is-system-running"); is.Stdout != "running\n" {
		t.Errorf("the system is %s", is.Stdout)
	}
	// The machine's own programs believe the password.
	shadow := observe(t, "machctl", "exec", "web", "--", "sed", "-n", "s/^root:\\([^:]*\\):.*/\\1/p", "/etc/shadow")
	want := observe(t, "perl", "-e", `print crypt("c8 secret", $ARGV[0]), "\n"`, strings.TrimSpace(shadow.Stdout))
	if !strings.HasPrefix(shadow.Stdout, "$y$") || shadow.Stdout != want.Stdout {
		t.Errorf("the password's hash is %q, crypt(3) makes %q", shadow.Stdout, want.Stdout)
	}
	keys := observe(t, "machctl", "exec", "web", "--", "sh", "-c", "stat -c '%a %u' /root/.ssh /root/.ssh/authorized_keys; cat /root/.ssh/authorized_keys; test -x /usr/sbin/sshd && echo sshd")
	if keys.Stdout != "700 0\n600 0\nssh-ed25519 AAAAC3Nza c8@host\nsshd\n" {
		t.Errorf("keys: %+v", keys)
	}
	if name := observe(t, "machctl", "exec", "web", "--", "hostname"); name.Stdout != "web\n" {
		t.Errorf("it is called %s", name.Stdout)
	}
}

// TestMachdCreateIsCalledOff ends whoever may be ended while an image is made, and
// wants nothing to be left each time.
func TestMachdCreateIsCalledOff(t *testing.T) {
	imagesGoAfter(t, "half")
	fakeDebootstrap(t, slowDebootstrap)
	w := watch(t)
	unit := "machd-create-half.service"
	for what, end := range map[string]func(client *exec.Cmd){
		"the client, by ^C":       func(client *exec.Cmd) { must(t, client.Process.Signal(unix.SIGINT)) },
		"the client":              func(client *exec.Cmd) { must(t, client.Process.Kill()) },
		"the builder":             func(*exec.Cmd) { run(t, "systemctl", "kill", "--signal=KILL", "--kill-whom=main", unit) },
		"the builder and its own": func(*exec.Cmd) { run(t, "systemctl", "kill", "--signal=KILL", unit) },
		"the unit":                func(*exec.Cmd) { run(t, "systemctl", "stop", unit) },
		"the daemon":              func(*exec.Cmd) { w.kill(t) },
		"the daemon, by restart":  func(*exec.Cmd) { run(t, "systemctl", "restart", theService) },
	} {
		t.Run(what, func(t *testing.T) {
			client := creating(t, "half")
			for _, verb := range []string{"GetImage"} {
				var path string
				if err := call(t, w.conn, verb, []any{"half"}, &path); err == nil {
					t.Errorf("half of the image is an image: %s", path)
				}
			}
			if o := observe(t, "machctl", "create", "half", "--from", "debian:13", "--verify=no"); o.Code == 0 || !strings.Contains(o.Stderr, "is being made already") {
				t.Errorf("a second one: %+v", o)
			}
			if o := observe(t, "machctl", "start", "half"); o.Code == 0 {
				t.Error("half of the image can be started")
			}
			end(client)
			if client.Wait() == nil {
				t.Error("the client says that the image was made")
			}
			w.list(t)
			wantNoTrace(t, "half")
		})
	}
}

// TestMachdCreateTellsOfAFullDisk gives the images a disk that is too small.
func TestMachdCreateTellsOfAFullDisk(t *testing.T) {
	fakeDebootstrap(t, "mkdir -p $TREE; echo I: extracting; dd if=/dev/zero of=$TREE/file bs=64k\n")
	run(t, "mount", "-t", "tmpfs", "-o", "size=4M,mode=0700", "tmpfs", guests)
	defer run(t, "umount", guests)
	o := observe(t, "machctl", "create", "full", "--from", "debian:13", "--verify=no")
	if o.Code != 1 || !strings.Contains(o.Stderr, "the file system of the images is full") || strings.Count(o.Stderr, "I: extracting\n") != 1 ||
		!strings.Contains(o.Stderr, "No space left on device") {
		t.Errorf("%+v", o)
	}
	wantNoTrace(t, "full")
}

// TestMachdArchivesOnAFullDisk says so, and not once for each file.
func TestMachdArchivesOnAFullDisk(t *testing.T) {
	files := map[string]string{}
	for i := range 1000 {
		files[fmt.Sprintf("etc/%d", i)] = strings.Repeat("full", 5000)
	}
	archive := write(t, workDirectory(t)+"/full.tar", archiveOf(t, files, 0))
	run(t, "mount", "-t", "tmpfs", "-o", "size=4M,mode=0700", "tmpfs", guests)
	defer run(t, "umount", guests)
	for _, argv := range [][]string{{"import-tar", archive}, {"create", "full", "--from", archive}, {"create", "full", "--from", archive, "-q"}} {
		o := wantTransfer(t, 1, `"machctl list-images" shows what takes how much`, argv...)
		for line := range strings.Lines(o.Stderr) {
			if strings.Contains(line, "?tar: ") {
				t.Errorf("%q: lines are in one: %.200s", argv, line)
			}
		}
		if n := strings.Count(o.Stderr, "\n"); n > 20 {
			t.Errorf("%q says it in %d lines", argv, n)
		}
		if live.Host.Version < 258 && !strings.Contains(o.Stderr, ": no space left on device\n") { // later ones do not say
			t.Errorf("%q does not say why: %s", argv, o.Stderr)
		}
		wantNoTrace(t, "full")
	}
}

// TestMachdCreatesOfWhatIsThere makes images of a directory, archives, a disk
// image and another image.
func TestMachdCreatesOfWhatIsThere(t *testing.T) {
	imagesGoAfter(t, "made")
	dir := t.TempDir()
	run(t, "bash", "-c", fmt.Sprintf("cd %s; cp -a %s tree; tar -b 1 -C tree -cf a.tar .; gzip -k a.tar; cp a.tar.gz without-a-name; truncate -s 8M disk; mkfs.ext4 -q disk",
		dir, filepath.Join(guests, "tiny")))
	for _, from := range []string{"tree", "a.tar", "a.tar.gz", "without-a-name", "machine:tiny", "tiny"} {
		o := observe(t, "bash", "-c", fmt.Sprintf("cd %s; machctl create made --from %s --root-password-file <(echo c8) --json=short", dir, from))
		if o.Code != 0 || !strings.Contains(o.Stdout, `"name":"made"`) {
			t.Fatalf("%s: %+v", from, o)
		}
		diff := observe(t, "diff", "-r", "--no-dereference", "-x", "dev", "-x", "passwd", "-x", ".pwd.lock", filepath.Join(guests, "tiny"), filepath.Join(guests, "made"))
		if diff.Code != 0 {
			t.Errorf("%s is not like the original: %s", from, diff.Stdout)
		}
		if passwd, err := os.ReadFile(filepath.Join(guests, "made/etc/passwd")); err != nil || !strings.HasPrefix(string(passwd), "root:$6$") {
			t.Errorf("%s: root's password is not set: %q, %v", from, passwd, err)
		}
		run(t, "machctl", "remove", "made")
	}
	o := observe(t, "machctl", "create", "made", "--from", filepath.Join(dir, "disk"))
	if info, err := os.Stat(filepath.Join(guests, "made.raw")); o.Code != 0 || err != nil || info.Size() != 8<<20 {
		t.Errorf("of a disk image: %+v, %v", o, err)
	}
	for _, wrong := range []struct {
		code int
		argv []string
	}{
		{2, []string{"bad_name", "--from", "tiny"}}, {2, []string{"x"}}, {2, []string{"x", "--from", "debian:"}},
		{1, []string{"x", "--from", "debian:nosuch"}}, {3, []string{"x", "--from", "machine:nosuch"}}, {1, []string{"x", "--from", "./nosuch"}},
		{1, []string{"x", "--from", "machine:tiny", "--mirror", "http://mirror"}}, {6, []string{"made", "--from", "tiny"}},
	} {
		if o := observe(t, append([]string{"machctl", "create"}, wrong.argv...)...); o.Code != wrong.code {
			t.Errorf("%q: %+v", wrong.argv, o)
		}
	}
	wantNoTrace(t, "x")
}
