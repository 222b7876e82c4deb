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

// startNested boots a guest with a machd of its own, and starts a machine in it,
// which runs without systemd.
func startNested(t *testing.T, outer, nested string) {
	t.Helper()
	installGuest(t, outer)
	installMachdIn(t, outer)
	// A systemd-nspawn in a user namespace may not change the mounts that it needs.
	must(t, os.WriteFile(filepath.Join(settings, outer+".nspawn"), []byte("[Exec]\nNotifyReady=yes\nPrivateUsers=no\n[X-Machd]\nNetwork=no\n"), 0o644))
	run(t, "sh", "-euc", `
# The guest's libraries may be older.
mkdir "$0/usr/lib/nspawn"
cp -L /usr/bin/systemd-nspawn $(ldd /usr/bin/systemd-nspawn | grep -o '/[^ ]*') "$0/usr/lib/nspawn"
cat >"$0/usr/bin/systemd-nspawn" <<.
#!/bin/sh
exec /usr/lib/nspawn/ld-linux* --library-path /usr/lib/nspawn /usr/lib/nspawn/systemd-nspawn "\$@"
.
chmod 755 "$0/usr/bin/systemd-nspawn"
cp -a --parents /usr/lib/systemd/system/systemd-nspawn@.service "$0"
mkdir -p "$0/var/lib/machines" "$0/etc/systemd/nspawn"
cp -a /var/lib/machines/tiny "$0/var/lib/machines/$1"
cat >"$0/etc/systemd/nspawn/$1.nspawn" <<.
[Exec]
Boot=no
Parameters=/bin/sh -c "sleep 10000"
PrivateUsers=no
[X-Machd]
Network=no
.`, filepath.Join(guests, outer), nested)
	run(t, "machinectl", "start", outer)
	eventually(t, "the machd in "+outer+" answers", func() error {
		return exec.Command("machctl", "-M", outer, "list").Run()
	})
	run(t, "machctl", "-M", outer, "start", nested)
	run(t, "machctl", "exec", outer, "journalctl", "--sync")
}

// What machctl does with a machine it does with one in a machine, of this host or
// of another one: files of there are read there, and files of here come and go.
func TestMachdInsideAMachine(t *testing.T) {
	const outer, nested = "outer", "nested"
	startFarHost(t)
	startNested(t, outer, nested)
	dir := t.TempDir()
	run(t, "sh", "-euc", `cd "$0"; mkdir -p tree/sub; echo one >tree/sub/file; ln -s file tree/sub/link; echo two >file; chown 12:34 file; chmod 4711 file`, dir)
	for _, place := range []string{"-M outer", "-H far/outer"} {
		for _, row := range []struct {
			script string
			status int
			out    string
			says   string
		}{
			{`machctl $P --no-legend list | cut -d' ' -f1`, 0, "nested\n", ""},
			{`machctl $P cat nested | grep ^Parameters`, 0, "Parameters=/bin/sh -c \"sleep 10000\"\n", ""},
			{`machctl $P cat nested --json | jq -r '.[0].machine'`, 0, "nested\n", ""},
			{`machctl $P logs nested -o cat | grep -o 'Started machine-nested'`, 0, "Started machine-nested\n", ""},
			{`machctl $P history`, 0, "No past machines.\n", ""},
			{`machctl $P doctor | grep -o 'nested: address'`, 0, "nested: address\n", ""},
			{`machctl $P edit nested </dev/null`, 1, "", "cannot edit settings"},
			{`machctl $P exec nested -- sh -c 'cat /etc/os-release | head -n 1; exit 4'`, 4, "ID=tiny\n", ""},

			{`tar -C tree -c . | machctl $P copy-to nested - /etc/archive && machctl $P copy-from nested /etc/archive - | tar -t | sort | tail -n 1`, 0, "./sub/link\n", ""},
			{`tar -c file | machctl $P copy-to --force nested - /etc/one && machctl $P exec nested cat /etc/one`, 0, "two\n", ""},
			{`tar -c file | machctl $P copy-to nested - /etc/one`, 6, "", "/etc/one"},
			{`tar -c file | machctl $P copy-to nosuch - /etc/one`, 3, "", "machctl $P list --all"},
			{`machctl $P copy-from nested /no/such - >/dev/null`, 1, "", "/no/such"},
			{`head -c 1000000 /dev/urandom | machctl $P copy-to nested - /etc/none`, 1, "", "cannot read the tar archive"},
			{`machctl $P copy-to nested -`, 2, "", "needs a PATH in the machine"},

			{`machctl $P passwd nested --lock`, 1, "", "machctl $P stop nested"},
			{`machctl $P passwd nosuch --lock`, 3, "", "machctl $P list-images"},

			// The way out is for who has asked.
			{`machctl $P cat nosuch`, 1, "", "machctl $P edit nosuch"},
			{`machctl $P logs nosuch`, 3, "", "machctl $P history"},
			{`machctl $P exec nestd true`, 125, "", "did you mean nested? \"machctl $P list --all\""},
			{`machctl $P terminate nestd`, 3, "", "machctl $P list --all"},
			{`machctl ${P%outer}nosuch cat nested`, 3, "", "list --all\" shows the machines"},
		} {
			says := strings.ReplaceAll(row.says, "$P", place)
			got := observe(t, "sh", "-c", `P="$0"; cd "$1"; `+row.script, place, dir)
			if got.Code != row.status || got.Stdout != row.out || !strings.Contains(got.Stderr, says) {
				t.Errorf("%s: %s: exit status %d, want %d; %q, want %q; want %q of\n%s", place, row.script, got.Code, row.status, got.Stdout, row.out, says, got.Stderr)
			}
		}
		run(t, "machctl", "-M", outer, "exec", nested, "rm", "-rf", "/etc/archive", "/etc/one")
	}
	copiesInside(t, dir)
	notThere(t, dir, nested)

	term := openTerminal(t, "machctl", "-H", farHost+"/outer", "exec", "-t", nested, "--", "sh", "-c", "echo on $(tty); read line; echo got $line; exit 5")
	talk(t, term, [2]string{`on /dev/pts/\d+\n`, "words\n"}, [2]string{`got words\n`, ""})
	if err := term.Wait(); err == nil || !strings.Contains(err.Error(), "exit status 5") {
		t.Errorf("it ended with %v, want exit status 5", err)
	}
	wantNothingOnItsWay(t, dir)
	wantNothingOnItsWayIn(t, outer)
	wantNoSSH(t)
}

// copiesInside has files of this host come to a machine in a machine of another
// one, and back.
func copiesInside(t *testing.T, dir string) {
	t.Helper()
	for _, row := range []struct {
		script string
		status int
		says   string
	}{
		{`machctl -H far/outer copy-to nested tree /etc/tree && machctl -H far/outer copy-from nested /etc/tree back && diff -r tree back && test -L back/sub/link`, 0, ""},
		{`machctl -H far/outer copy-to nested file /etc/file && machctl -H far/outer copy-from nested /etc/file file.back && cmp file file.back`, 0, ""},
		{`test "$(stat -c '%a %u %g' file.back)" = '4711 12 34'`, 0, ""},
		{`machctl -H far/outer copy-to nested file /etc/file`, 6, "/etc/file"},
		{`machctl -H far/outer copy-to --force nested tree/sub/file /etc/file && test "$(machctl -H far/outer exec nested cat /etc/file)" = one`, 0, ""},
		{`machctl -H root@198.51.100.2:2222/outer copy-to --force nested tree/sub/file /etc/file`, 0, ""},
		{`machctl -H far/outer copy-from nested /etc/file file`, 6, "file"},
		{`machctl -H far/outer copy-from nested /no/such x; test ! -e x && exit 1`, 1, "/no/such"},
		{`machctl -H far/outer copy-to nosuch file /etc/x`, 3, "machctl -H far/outer list --all"},
		{`machctl -H far/nosuch copy-to nested file /etc/x`, 3, "machctl -H far list --all"},
		{`machctl -H far/outer copy-to nested file /etc`, 6, "/etc/file"},
		{`mkdir into; machctl -H far/outer copy-from nested /etc/file into/ && cmp tree/sub/file into/file; rm -r into`, 0, ""},
		// With --machine they are the machine's.
		{`machctl -M outer copy-to nested "$PWD/file" /etc/x`, 1, "machctl -M outer copy-to nested - /etc/x"},
		{`machctl -M outer copy-to nested /etc/hostname /etc/x && test "$(machctl -M outer exec nested cat /etc/x)" = outer`, 0, ""},
		{`machctl -M outer copy-to nested /etc/hostname /tmp && test "$(machctl -M outer exec nested cat /tmp/hostname)" = outer`, 0, ""},
		{`machctl -M outer copy-from nested /etc/x /srv/ && test "$(machctl exec outer cat /srv/x)" = outer`, 0, ""},
	} {
		got := observe(t, "sh", "-c", `cd "$0"; `+row.script, dir)
		if got.Code != row.status || !strings.Contains(got.Stderr, row.says) {
			t.Errorf("%s: exit status %d, want %d with %q\n%s%s", row.script, got.Code, row.status, row.says, got.Stdout, got.Stderr)
		}
	}
	big := filepath.Join(dir, "big")
	must(t, os.WriteFile(big, nil, 0o644))
	must(t, os.Truncate(big, 100<<30))
	tar := exec.Command("tar", "-c", "-C", dir, "big")
	out, err := tar.StdoutPipe()
	must(t, err)
	must(t, tar.Start())
	copying := exec.Command("machctl", "-H", farHost+"/outer", "copy-to", "nested", "-", "/etc/cut")
	copying.Stdin = out
	must(t, copying.Start())
	eventually(t, "something has come", func() error {
		if found, _ := filepath.Glob(filepath.Join(guests, "outer/var/tmp/.machctl-*/files/big")); len(found) != 1 {
			return fmt.Errorf("on their way are %q", found)
		}
		return nil
	})
	must(t, copying.Process.Signal(syscall.SIGKILL))
	_ = copying.Wait()
	_ = tar.Process.Kill()
	_ = tar.Wait()
	must(t, os.Remove(big))
	eventually(t, "nothing is left of a copy that was cut off", func() error {
		if found, _ := filepath.Glob(filepath.Join(guests, "outer/var/tmp/.machctl-*")); len(found) > 0 {
			return fmt.Errorf("there is still %q", found)
		}
		return nil
	})
}

// notThere takes away what it takes, and looks at what is said then.
func notThere(t *testing.T, dir, nested string) {
	t.Helper()
	inner := filepath.Join(guests, "outer/usr/bin/machctl")
	must(t, os.Rename(inner, inner+".hidden"))
	for _, words := range [][]string{
		{"-M", "outer", "cat", nested},
		{"-H", farHost + "/outer", "cat", nested},
		{"-H", farHost + "/outer", "copy-to", nested, dir + "/file", "/etc/y"},
	} {
		got := observe(t, append([]string{"machctl"}, words...)...)
		if got.Code != 7 || !strings.Contains(got.Stderr, "outer has no machctl, and ") || !strings.Contains(got.Stderr, "hint: install") {
			t.Errorf("%q without machctl there: exit status %d\n%s", words, got.Code, got.Stderr)
		}
	}
	must(t, os.Rename(inner+".hidden", inner))
	for _, row := range []struct {
		argv []string
		code int
		says []string
	}{
		{[]string{"-M", "nobody-here@outer", "cat", nested}, 1, []string{`no user "nobody-here"`}},
		{[]string{"-M", "nobody-here@outer", "list"}, 7, []string{`a user "nobody-here" in it`}},
		{[]string{"-H", "nobody@" + farHost, "list"}, 7, []string{"the user needs a shell there"}},
		{[]string{"-H", "nobody@" + farHost, "cat", nested}, 7, []string{"the user needs a shell there"}},
	} {
		got := observe(t, append([]string{"machctl"}, row.argv...)...)
		if got.Code != row.code {
			t.Errorf("%q: exit status %d, want %d\n%s", row.argv, got.Code, row.code, got.Stderr)
		}
		for _, words := range row.says {
			if !strings.Contains(got.Stderr, words) {
				t.Errorf("%q: nothing of %q in:\n%s", row.argv, words, got.Stderr)
			}
		}
	}
	// On a terminal ssh says why as well.
	term := openTerminal(t, "machctl", "-H", "127.0.0.1:1", "cat", nested)
	talk(t, term, [2]string{`Connection refused`, ""}, [2]string{`has not reached 127\.0\.0\.1:1`, ""})
	if err := term.Wait(); err == nil || !strings.Contains(err.Error(), "exit status 7") {
		t.Errorf("it ended with %v, want exit status 7", err)
	}
}

// wantNothingOnItsWayIn fails if a machine has files on their way left.
func wantNothingOnItsWayIn(t *testing.T, name string) {
	t.Helper()
	if left, _ := filepath.Glob(filepath.Join(guests, name, "var/tmp/.machctl-*")); len(left) > 0 {
		t.Errorf("there is still %q", left)
	}
}
