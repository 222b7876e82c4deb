package booted

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/machd/machd/test/lan"
)

// nameServer has a server of names answer at an address: every name that ends in
// this zone has the address.
func nameServer(t *testing.T, place lan.Place, address, zone string, answer netip.Addr) {
	t.Helper()
	conn, err := place.ListenPacket("udp", address)
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var query dnsmessage.Message
			if query.Unpack(buf[:n]) != nil || len(query.Questions) != 1 {
				continue
			}
			q := query.Questions[0]
			reply := dnsmessage.Message{Header: dnsmessage.Header{ID: query.ID, Response: true, RecursionDesired: true, RecursionAvailable: true}, Questions: query.Questions}
			switch {
			case !strings.HasSuffix(q.Name.String(), zone+"."):
				reply.RCode = dnsmessage.RCodeNameError
			case q.Type == dnsmessage.TypeA:
				reply.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1},
					Body:   &dnsmessage.AResource{A: answer.As4()},
				}}
			}
			if packed, err := reply.Pack(); err == nil {
				conn.WriteTo(packed, from)
			}
		}
	}()
}

// setResolver has the host use this resolv.conf until the test's end.
func setResolver(t *testing.T, text string) {
	t.Helper()
	const path = "/etc/resolv.conf"
	must(t, os.WriteFile(path+".new", []byte(text), 0o644))
	must(t, os.Rename(path+".new", path))
	t.Cleanup(func() { os.Remove(path) })
}

// Names are looked up inside as they are on the host, whatever it uses, also
// when that changes; and the image's own files are as before.
func TestMachdNetworkResolvesNames(t *testing.T) {
	n := joinedNetwork(t)
	imageBefore := run(t, "sh", "-c", "cd "+guests+"/tiny && find etc -exec ls -ld --time-style=full-iso {} +")
	nameServer(t, n.Internet, lan.Internet4+":53", "plain.test", addr("198.51.100.1"))
	nameServer(t, here, "127.0.0.1:53", "local.test", addr("198.51.100.2"))
	d := startDweller(t, "resolves", "-n")
	text := readFile(t, fmt.Sprintf("/proc/%d/root/etc/resolv.conf", d.leader))
	if !strings.Contains(text, "nameserver "+d.gate4.String()) {
		t.Errorf("its resolv.conf is %q", text)
	}
	want := func(what, name, answer string) {
		t.Helper()
		eventually(t, what, func() error {
			got, err := lookUp(t, d.Place, d.gate4, "ip4", name)
			if err != nil || !slices.Contains(got, addr(answer)) {
				return fmt.Errorf("%s is %v, %v", name, got, err)
			}
			return nil
		})
		wantName(t, d.Place, d.gate6, name, addr(answer))
		if out := run(t, "machctl", "exec", "resolves", "--", "nslookup", name); !strings.Contains(out, answer) {
			t.Errorf("inside it is said:\n%s", out)
		}
	}
	setResolver(t, "nameserver "+lan.Internet4+"\n")
	want("a server elsewhere", "www.plain.test", "198.51.100.1")
	setResolver(t, "nameserver 127.0.0.1\n")
	want("a server on the host", "www.local.test", "198.51.100.2")
	if got, err := lookUp(t, d.Place, d.gate4, "ip4", "www.plain.test"); err == nil {
		t.Errorf("what the server does not know is %v", got)
	}

	must(t, os.MkdirAll("/run/systemd/resolved.conf.d", 0o755))
	must(t, os.WriteFile("/run/systemd/resolved.conf.d/test.conf", []byte("[Resolve]\nDNS="+lan.Internet4+"\nDNSSEC=no\n"), 0o644))
	t.Cleanup(func() { os.RemoveAll("/run/systemd/resolved.conf.d") })
	run(t, "systemctl", "start", "systemd-resolved.service")
	t.Cleanup(func() { run(t, "systemctl", "stop", "systemd-resolved.service") })
	must(t, os.Remove("/etc/resolv.conf"))
	must(t, os.Symlink("/run/systemd/resolve/stub-resolv.conf", "/etc/resolv.conf"))
	want("systemd-resolved", "stub.plain.test", "198.51.100.1")

	imageAfter := run(t, "sh", "-c", "cd "+guests+"/tiny && find etc -exec ls -ld --time-style=full-iso {} +")
	wantUnchanged(t, "the image", imageBefore, imageAfter)
}

// The image of a machine that keeps what it writes has the same resolv.conf
// after the machine has run, and while it runs the machine has one that works,
// unless it writes that itself.
func TestMachdNetworkLeavesResolvConfOfImages(t *testing.T) {
	t.Parallel()
	joinedNetwork(t)
	for what, c := range map[string]struct {
		prepare func(path string) error
		written bool // by the machine
		after   string
	}{
		// A mount needs a file to be on.
		"none": {func(path string) error { return nil }, false, ""},
		"file": {func(path string) error { return os.WriteFile(path, []byte("# mine\nnameserver 192.0.2.53\n"), 0o640) }, false, "# mine\nnameserver 192.0.2.53\n"},
		"link": {func(path string) error { return os.Symlink("../run/mine/resolv.conf", path) }, true, "-> ../run/mine/resolv.conf"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			name := "resolv-" + what
			installGuest(t, name)
			path := filepath.Join(guests, name, "etc/resolv.conf")
			if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			must(t, c.prepare(path))
			before := observe(t, "ls", "-ln", "--time-style=full-iso", path).Stdout
			run(t, "machctl", "start", name)
			d := findDweller(t, name)
			inside := observe(t, "machctl", "exec", name, "--", "cat", "/etc/resolv.conf").Stdout
			if strings.Contains(inside, "nameserver "+d.gate4.String()) == c.written {
				t.Errorf("inside it is %q", inside)
			}
			run(t, "machctl", "stop", name)
			after := observe(t, "sh", "-c", "ls -ln --time-style=full-iso "+path+"; cat "+path).Stdout
			if !strings.HasPrefix(after, before) || !strings.Contains(after, c.after) || strings.Contains(after, d.gate4.String()) {
				t.Errorf("it was %q, is:\n%s", before, after)
			}
		})
	}
}

// Whoever looks up the name of a machine on the host finds its useful address;
// names that belong to the world stay the world's.
func TestMachdNetworkNamesOnTheHost(t *testing.T) {
	t.Parallel()
	d := startDweller(t, "known-here", "-n")
	for _, c := range []struct {
		database string
		want     netip.Addr
	}{{"ahostsv4", d.v4}, {"ahostsv6", d.v6}} {
		if got := strings.Fields(run(t, "getent", c.database, d.name)); got[0] != c.want.String() {
			t.Errorf("%s of %s is %v, want %v", c.database, d.name, got, c.want)
		}
	}
	for _, client := range clients() {
		words := strings.Fields(run(t, "sh", "-c", client+" --no-pager --no-legend list | grep '^"+d.name+" '"))
		if len(words) < 6 || !strings.HasPrefix(words[5], d.v4.String()) {
			t.Errorf("%s lists %q", client, words)
		}
	}
	out := run(t, "machctl", "status", "--no-pager", d.name)
	for _, want := range []string{d.link, d.v4.String(), d.v6.String(), d.gate4.String()} {
		if !strings.Contains(out, want) {
			t.Errorf("status does not tell %s:\n%s", want, out)
		}
	}
}
