package booted

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	machd1 "github.com/machd/machd/pkg/machd"
)

// A finding is a line of what the doctor says, as --json has it.
type finding struct {
	Check, Subject, Level, What, Why, Command string
	Safe, Fixed                               bool
}

func (f finding) bad() bool { return f.Level != machd1.LevelOK && !f.Fixed }

// diagnose returns what the doctor says, and checks that his exit status tells
// whether all is well.
func diagnose(t *testing.T, options ...string) []finding {
	t.Helper()
	o := observe(t, append([]string{"machctl", "doctor", "--json=short"}, options...)...)
	var found []finding
	if err := json.Unmarshal([]byte(o.Stdout), &found); err != nil {
		t.Fatalf("doctor %q: %v\n%s%s", options, err, o.Stdout, o.Stderr)
	}
	if bad := slices.ContainsFunc(found, finding.bad); bad != (o.Code != 0) {
		t.Errorf("doctor %q: exit status %d\n%s", options, o.Code, o.Stdout)
	}
	return found
}

// wantWellBy checks that the doctor finds nothing.
func wantWellBy(t *testing.T, options ...string) {
	t.Helper()
	for _, f := range diagnose(t, options...) {
		if f.bad() {
			t.Errorf("doctor %q: %+v", options, f)
		}
	}
}

// wantFound returns what the check called name found that has each of the words.
func wantFound(t *testing.T, found []finding, name string, words ...string) (f finding) {
	t.Helper()
	for _, f := range found {
		text := f.What + "\n" + f.Why + "\n" + f.Command
		if f.Check == name && (f.Level != machd1.LevelOK) && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) }) {
			return f
		}
	}
	t.Errorf("%s found nothing with %q, but %+v", name, words, found)
	return f
}

// startWell starts a machine with a port, of which the doctor says that all is
// well.
func startWell(t *testing.T, name string, port int) dweller {
	t.Helper()
	d := startDweller(t, name, "-n", "-p", fmt.Sprintf("%d:80", port), "--expose-host", fmt.Sprintf("90:%d", port+1000))
	d.serve(t, 80)
	serveAt(t, here, "host", port+1000)
	serveNames(t)
	wantWellBy(t, name)
	return d
}

// serveNames gives the host a name server that answers, with nothing.
func serveNames(t *testing.T) {
	t.Helper()
	const resolvConf = "/etc/resolv.conf"
	conn, err := net.ListenPacket("udp", "127.0.0.99:53")
	must(t, err)
	go func() {
		buffer := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			buffer[2] |= 0x80 // it is an answer
			conn.WriteTo(buffer[:n], from)
		}
	}()
	t.Cleanup(func() { conn.Close() })
	const aside = resolvConf + ".aside" // it may be a link that leads nowhere
	if err := os.Rename(resolvConf, aside); err == nil {
		t.Cleanup(func() { must(t, os.Rename(aside, resolvConf)) })
	} else if !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	must(t, os.WriteFile(resolvConf, []byte("nameserver 127.0.0.99\n"), 0o644))
	t.Cleanup(func() { os.Remove(resolvConf) })
}

// What is broken of a machine's network is named, and the command that is said to
// mend it does.
func TestMachdDoctorNamesWhatIsBroken(t *testing.T) {
	const name = "ill"
	d := startWell(t, name, 8301)
	inside := func(commands ...string) string {
		return fmt.Sprintf("nsenter -t %d -n sh -ec '%s'", d.leader, strings.Join(commands, "; "))
	}
	for _, b := range []struct {
		name   string
		broken string // commands
		check  string
		says   []string
		mended string // commands, if not the one that is said
	}{
		{"address off", inside("ip -4 addr flush dev host0"), "address", []string{"host0 has not the address " + d.v4.String()},
			inside(fmt.Sprintf("ip addr add %s/%d dev host0", d.v4, d.prefix4), fmt.Sprintf("ip route add default via %s", d.gate4))},
		{"no way out", inside("ip route del default"), "route", []string{"no default route of IPv4"}, ""},
		{"no way out, IPv6", inside("ip -6 route flush default"), "route", []string{"no default route of IPv6"}, ""},
		{"other size", inside("ip link set host0 mtu 1300"), "mtu", []string{"1300"}, ""},
		{"neighbours", inside("ip link set host0 arp off"), "neighbour", []string{"nobody on " + d.link + " says that " + d.v4.String()}, inside("ip link set host0 arp on")},
		{"forwarding", "sysctl -qw net/ipv4/conf/" + d.link + "/forwarding=0", "forwarding", []string{"forwards no IPv4 of " + d.link}, ""},
		{"127.0.0.1 not let out", "sysctl -qw net/ipv4/conf/" + d.link + "/route_localnet=0", "port", []string{"at 127.0.0.1", "route_localnet"}, ""},
		{"no route of ::1", "ip -6 route del local ::1 dev " + d.link + " table local", "port", []string{"does not answer at ::1"}, ""},
		{"another has the network", "ip route add " + d.v4.String() + " dev lan0", "return", []string{"go to lan0"}, "ip route del " + d.v4.String() + " dev lan0"},
		{"link down", "ip link set " + d.link + " down", "link", []string{d.link + " is down"}, "machctl doctor --fix " + name},
	} {
		t.Run(b.name, func(t *testing.T) {
			run(t, "sh", "-ec", b.broken)
			f := wantFound(t, diagnose(t, name), b.check, b.says...)
			if b.mended == "" {
				b.mended = f.Command
			}
			run(t, "sh", "-ec", b.mended)
			wantWellBy(t, name)
		})
	}
}

// The rule of somebody else that drops what a machine sends, or what is sent to
// it, is named; his command opens the way.
func TestMachdDoctorNamesTheRule(t *testing.T) {
	const name = "shut-in"
	d := startWell(t, name, 8302)
	for _, b := range []struct {
		name, rules, check string
		says               []string
	}{
		{"policy", `table inet wall { chain forward { type filter hook forward priority 0; policy drop; ct state established,related accept; }; }`,
			"way-out", []string{"does not get out of the host by IPv4", "inet wall forward (policy drop)"}},
		{"docker", `table ip filter { chain DOCKER-USER { return; }; chain FORWARD { type filter hook forward priority 0; policy drop; jump DOCKER-USER; }; }`,
			"way-out", []string{"ip filter FORWARD (policy drop), of docker", "DOCKER-USER"}},
		{"from outside", `table inet wall { chain forward { type filter hook forward priority 0; iifname "lan0" drop comment "no guests"; }; }`,
			"port", []string{"192.0.2.1, from others on lan0", `iifname "lan0" drop comment "no guests"`}},
		{"names", `table inet wall { chain input { type filter hook input priority 0; iifname "ve-*" udp dport 53 reject; }; }`,
			"dns", []string{d.gate4.String() + " does not answer", "inet wall input"}},
	} {
		t.Run(b.name, func(t *testing.T) {
			run(t, "nft", b.rules)
			table := strings.Join(strings.Fields(b.rules)[:3], " ")
			t.Cleanup(func() {
				observe(t, "nft", "delete "+table)
				wantWellBy(t, name)
			})
			f := wantFound(t, diagnose(t, name), b.check, b.says...)
			if b.name == "docker" {
				return // iptables need not be there
			}
			run(t, "sh", "-ec", f.Command)
			for _, after := range diagnose(t, name) {
				if after.What == f.What {
					t.Errorf("after %q it still says %+v", f.Command, after)
				}
			}
		})
	}
}

// What a killed program or daemon has left is named, and fix removes it.
func TestMachdDoctorFixesWhatIsLeft(t *testing.T) {
	const name = "patient"
	d := startWell(t, name, 8303)
	const export, state, lock = "/run/systemd/nspawn/unix-export/dead", "/run/systemd/machines/dead", "/run/systemd/nspawn/locks/name-dead"
	must(t, os.MkdirAll(export, 0o755))
	must(t, unix.Mount("tmpfs", export, "tmpfs", 0, ""))
	t.Cleanup(func() { unix.Unmount(export, unix.MNT_DETACH); os.Remove(export) })
	must(t, os.WriteFile(state, []byte("NAME=dead\nCLASS=container\nLEADER=4194300\n"), 0o644))
	must(t, os.MkdirAll(filepath.Dir(lock), 0o700))
	must(t, os.WriteFile(lock, nil, 0o600))
	run(t, "ip", "link", "set", d.link, "down")
	run(t, "ip", "link", "add", "ve-nobody", "type", "veth", "peer", "name", "nobody")
	t.Cleanup(func() { observe(t, "ip", "link", "delete", "ve-nobody") })

	found := diagnose(t)
	wantFound(t, found, "export", export)
	wantFound(t, found, "state", "dead has a state file")
	wantFound(t, found, "lock", "name-dead is held by nobody")
	wantFound(t, found, "link", d.link+" is down")
	wantFound(t, found, "leftover", "no machine has the link ve-nobody")
	for _, f := range diagnose(t, "--fix") {
		if f.bad() && f.Subject != "ve-nobody" && f.Subject != export { // whose mount is young
			t.Errorf("not fixed: %+v", f)
		}
	}
	for _, path := range []string{state, lock} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is still there", path)
		}
	}
	run(t, "ip", "link", "show", "ve-nobody") // that may be somebody's
	wantWellBy(t, name)
	wantAnswer(t, here, "tcp", "127.0.0.1:8303", name, nobody)
}

// A machine that has only just begun is not called a stranger who holds an image;
// one that is never registered is.
func TestMachdDoctorKnowsYoungMachines(t *testing.T) {
	const name = "young"
	root := copyImage(t, "tiny", name)
	for range 5 {
		run(t, "machctl", "start", name, "--wait=registered")
		for _, f := range diagnose(t) {
			if f.bad() && (f.Check == "scope" || f.Check == "export" || strings.HasPrefix(f.Command, "kill ")) {
				t.Errorf("of a machine that has begun: %+v", f)
			}
		}
		run(t, "machctl", "stop", "--timeout=1", name)
	}

	cmd := exec.Command("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "-D", root, "sleep", "600")
	must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	eventually(t, "who is not registered is named", func() error {
		for _, f := range diagnose(t) {
			if f.Check == "lock" && f.Command == fmt.Sprintf("kill %d", cmd.Process.Pid) {
				return nil
			}
		}
		return errors.New("nobody is")
	})
}

// A diagnosis is over soon, leaves nothing, and keeps nobody waiting.
func TestMachdDoctorKeepsNobodyWaiting(t *testing.T) {
	const name = "quick"
	startWell(t, name, 8304)
	before := tables(t)
	start := time.Now()
	wantWellBy(t, name)
	alone := time.Since(start)
	if alone > 4*time.Second {
		t.Errorf("it took %s", alone)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 3 {
			observe(t, "machctl", "doctor")
		}
	}()
	slowest := time.Duration(0)
	for ended := false; !ended; {
		start := time.Now()
		run(t, "machctl", "list")
		slowest = max(slowest, time.Since(start))
		select {
		case <-done:
			ended = true
		case <-time.After(20 * time.Millisecond):
		}
	}
	t.Logf("a diagnosis takes %s, a list meanwhile at most %s", alone, slowest)
	if slowest > 2*time.Second {
		t.Errorf("a list took %s meanwhile", slowest)
	}
	if after := tables(t); after != before {
		t.Errorf("rules before:\n%s\nafter:\n%s", before, after)
	}
	if links := run(t, "ip", "-o", "link"); strings.Contains(links, "machd-probe") {
		t.Errorf("a link is left:\n%s", links)
	}
}
