package responder

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestServersOfResolvConf(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, text string
		want       []string
	}{
		{"none", "search example.org\n", []string{"127.0.0.1:53"}},
		{"both families, and what nobody understands",
			"# written by hand\nnameserver 192.0.2.1\n  nameserver\t2001:db8::1 # the second\nnameserver\nnameserver x\nNameserver 192.0.2.2\noptions edns0\n",
			[]string{"192.0.2.1:53", "[2001:db8::1]:53"}},
		{"of a link", "nameserver fe80::1%eth0\n", []string{"[fe80::1%eth0]:53"}},
		{"without an end of line", "nameserver ::ffff:192.0.2.1", []string{"192.0.2.1:53"}},
		{"more than anybody asks", strings.Repeat("nameserver 192.0.2.1\n", 100), strings.Fields(strings.Repeat("192.0.2.1:53 ", mostServers))},
	} {
		var got []string
		for _, server := range parseServers(strings.NewReader(test.text)) {
			got = append(got, server.String())
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func TestServersFollowTheFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "resolv.conf")
	servers := Upstreams(path)
	check := func(what, want string) {
		t.Helper()
		if got := servers(); len(got) != 1 || got[0] != netip.MustParseAddrPort(want) {
			t.Errorf("%s: %v, want %s", what, got, want)
		}
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	check("without a file", "127.0.0.1:53")
	write("resolv.conf", "nameserver 192.0.2.1\n")
	check("a new file", "192.0.2.1:53")
	write("resolv.conf", "nameserver 192.0.2.2\n")
	check("another text of the same length at once", "192.0.2.2:53")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	write("resolv.conf", "nameserver 192.0.2.4\n")
	if err := os.Chtimes(path, time.Time{}, info.ModTime()); err != nil {
		t.Fatal(err)
	}
	check("at once, where the file system's clock is coarse", "192.0.2.4:53")
	write("other", "nameserver 192.0.2.3\n")
	if err := os.Rename(filepath.Join(dir, "other"), path); err != nil {
		t.Fatal(err)
	}
	check("another file in its place", "192.0.2.3:53")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	check("the file is gone", "127.0.0.1:53")
	if err := os.Symlink("/dev/zero", path); err != nil {
		t.Fatal(err)
	}
	check("no file at all", "127.0.0.1:53")
}

func FuzzServers(f *testing.F) {
	f.Add("nameserver 192.0.2.1\nnameserver fe80::1%eth0\n")
	f.Fuzz(func(t *testing.T, text string) {
		servers := parseServers(strings.NewReader(text))
		if len(servers) == 0 || len(servers) > mostServers {
			t.Fatalf("%d servers", len(servers))
		}
	})
}
