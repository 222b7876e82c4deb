package booted

import (
	"strings"
	"testing"
)

// Images come from files of this host to another one, and back.
func TestMachdRemoteTransfers(t *testing.T) {
	startFarHost(t)
	dir := t.TempDir()
	t.Cleanup(func() {
		for _, name := range []string{"sent", "sent-tree", "sent-typed"} {
			observe(t, "machctl", "-y", "remove", name)
			observe(t, "machinectl", "remove", name)
		}
	})
	for _, row := range []struct {
		script string
		status int
		says   string
	}{
		{`tar -b 1 -C /var/lib/machines/tiny -czf sent.tar.gz . && machctl -H far import-tar sent.tar.gz && cmp /var/lib/machines/sent/etc/os-release /var/lib/machines/tiny/etc/os-release`, 0, ""},
		{`machctl -H far import-tar sent.tar.gz`, 6, "sent"},
		{`machctl -H far import-tar - sent-typed <sent.tar.gz && test -e /var/lib/machines/sent-typed/etc/os-release`, 0, ""},
		{`mkdir -p tree/usr tree/etc && echo x >tree/etc/os-release && machctl -H far import-fs tree sent-tree && cmp tree/etc/os-release /var/lib/machines/sent-tree/etc/os-release`, 0, ""},
		{`machctl -H far export-tar sent back.tar.gz && gzip -t back.tar.gz && tar -tzf back.tar.gz | grep -q etc/os-release`, 0, ""},
		{`machctl -H far export-tar sent | tar -t | grep -q etc/os-release`, 0, ""},
		{`machctl -H far export-tar nosuch no.tar; code=$?; test ! -e no.tar && exit $code`, 3, "nosuch"},
		{`machctl -H far import-tar /no/such.tar`, 1, "/no/such.tar"},
		{`machctl -H far import-tar -`, 2, "NAME"},
	} {
		got := observe(t, "sh", "-c", `cd "$0"; `+row.script, dir)
		if got.Code != row.status || !strings.Contains(got.Stderr, row.says) {
			t.Errorf("%s: exit status %d, want %d with %q\n%s%s", row.script, got.Code, row.status, row.says, got.Stdout, got.Stderr)
		}
	}
	wantNoSSH(t)
}
