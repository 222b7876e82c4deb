package doctor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// A box is a network namespace, held by a process.
type box struct {
	t      testing.TB
	leader *proc.PIDFD
	pid    string
}

// newBox returns a box whose /etc/resolv.conf has the given text.
func newBox(t testing.TB, resolv string) *box {
	t.Helper()
	cmd := exec.Command("sh", "-ec", `
		mount --make-rprivate /; mount -t tmpfs tmpfs /etc
		echo "$0" >/etc/resolv.conf; echo; exec sleep 600 >&-`, resolv)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	ready, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("cannot make a network namespace, which needs root: %v", err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if _, err := ready.Read(make([]byte, 1)); err != nil {
		t.Fatalf("cannot make a network namespace: %v", err)
	}
	leader, err := proc.Open(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { leader.Close() })
	b := &box{t, leader, strconv.Itoa(cmd.Process.Pid)}
	b.sh("ip link set lo up; sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0")
	return b
}

// sh runs lines of a shell in the namespace; $X is replaced from pairs.
func (b *box) sh(lines string, pairs ...string) string {
	b.t.Helper()
	lines = strings.NewReplacer(pairs...).Replace(lines)
	out, err := exec.Command("nsenter", "-t", b.pid, "-n", "sh", "-ec", lines).CombinedOutput()
	if err != nil {
		b.t.Fatalf("%s: %v\n%s", lines, err, out)
	}
	return string(out)
}

// space is the namespace as a diagnosis takes it.
func (b *box) space() *Space {
	b.t.Helper()
	ns, err := b.leader.Namespace("net")
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { ns.Close() })
	return &Space{ns}
}

// A world is a host with an uplink to a network, and one machine on a link, all
// as it should be. Tests break one thing of it.
type world struct {
	host, guest, lan *box
	network          *fakeNetwork
	units            *fakeUnits
	machines         []machine.Machine
	paths            Paths
	doctor           *Doctor
	stopServing      func()       // ends DHCP, RA and DNS
	service          net.Listener // of the machine
}

const (
	guest4, guest6     = "10.213.0.2", "fd00:213::2"
	gateway4, gateway6 = "10.213.0.1", "fd00:213::1"
)

// rules are of the kind that the daemon makes.
const rules = `
table inet machd {
  map port4 { type inet_proto . inet_service : ipv4_addr . inet_service; elements = { tcp . 8080 : 10.213.0.2 . 80 }; }
  map port6 { type inet_proto . inet_service : ipv6_addr . inet_service; elements = { tcp . 8080 : fd00:213::2 . 80 }; }
  set links { type ifname; elements = { "ve-c1" }; }
  chain guard { type filter hook prerouting priority raw; policy accept;
    iifname @links ip daddr 127.0.0.0/8 drop
  }
  chain pre { type nat hook prerouting priority dstnat; policy accept;
    fib daddr type local dnat ip  to meta l4proto . th dport map @port4
    fib daddr type local dnat ip6 to meta l4proto . th dport map @port6
  }
  chain out { type nat hook output priority -100; policy accept;
    fib daddr type local dnat ip  to meta l4proto . th dport map @port4
    fib daddr type local dnat ip6 to meta l4proto . th dport map @port6
  }
  chain post { type nat hook postrouting priority srcnat; policy accept;
    oifname @links ip saddr 127.0.0.0/8 masquerade
    oifname @links ip6 saddr ::1 masquerade
    iifname @links oifname != @links masquerade
  }
}`

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{host: newBox(t, ""), guest: newBox(t, "nameserver "+gateway4), lan: newBox(t, ""), units: &fakeUnits{}, stopServing: func() {}}
	w.host.sh(`
		ip link add eth0 type veth peer name eth0 netns LAN
		ip link set eth0 up; ip addr add 192.168.7.1/24 dev eth0; ip addr add 2001:db8:7::1/64 dev eth0 nodad
		ip link add ve-c1 type veth peer name host0 netns GUEST
		`, "LAN", w.lan.pid, "GUEST", w.guest.pid)
	w.manage()
	w.lan.sh(`
		ip link set eth0 up; ip addr add 192.168.7.254/24 dev eth0; ip addr add 2001:db8:7::fe/64 dev eth0 nodad`)
	w.host.sh(`
		ip route add default via 192.168.7.254; ip -6 route add default via 2001:db8:7::fe`)
	w.guest.sh(`
		ip link set host0 up; ip addr add 10.213.0.2/30 dev host0; ip addr add fd00:213::2/64 dev host0 nodad
		ip route add default via 10.213.0.1; ip -6 route add default via fd00:213::1`)
	w.serve(t, guest4)
	w.service = w.listen(t, ":80")
	w.network = &fakeNetwork{mend: w.manage, attachments: []Attachment{{
		Machine: "c1", Kind: "veth", Link: "ve-c1", Managed: true,
		Addresses: []netip.Prefix{netip.MustParsePrefix(guest4 + "/30"), netip.MustParsePrefix(guest6 + "/64")},
		Gateways:  []netip.Addr{netip.MustParseAddr(gateway4), netip.MustParseAddr(gateway6)},
		Ports:     []machd.Port{{Protocol: machd.TCP, Host: 8080, Guest: 80}},
	}}}
	w.machines = []machine.Machine{{Name: "c1", Class: "container", Leader: w.guest.leader}}
	w.paths = scratchPaths(t)
	write(t, w.paths.Resolv, "nameserver 127.0.0.3\n")
	write(t, w.paths.States+"/c1", "NAME=c1\nCLASS=container\nLEADER="+w.guest.pid+"\n")
	w.doctor = newDoctor(w, w.host.space())
	return w
}

// manage makes the host's end of the link, switches and rules what they should be.
func (w *world) manage() error {
	w.host.sh(`
		ip link set ve-c1 up; ip addr replace 10.213.0.1/30 dev ve-c1; ip addr replace fd00:213::1/64 dev ve-c1 nodad
		ip -6 route show table local | grep -q '^local ::1 dev ve-c1 ' || ip -6 route append local ::1 dev ve-c1 table local metric 1024
		sysctl -qw net.ipv4.conf.ve-c1.forwarding=1 net.ipv4.conf.eth0.forwarding=1 net.ipv6.conf.all.forwarding=1
		sysctl -qw net.ipv4.conf.ve-c1.route_localnet=1
		nft -f - <<'EOF'
		table inet machd
		delete table inet machd
		` + rules + `
EOF`)
	return nil
}

func newDoctor(w *world, host *Space) *Doctor {
	cfg := Config{
		Machines: func() []machine.Machine { return w.machines },
		Units:    w.units, Host: host, Paths: w.paths, Log: slog.New(slog.DiscardHandler),
		LookForImage: func(_ context.Context, name string) error {
			if _, err := os.Stat(filepath.Join(w.paths.Images[0], name)); err != nil {
				return fmt.Errorf("%w: %w", machine1.ErrNoSuchImage, err)
			}
			return nil
		},
	}
	if w.network != nil {
		cfg.Network = w.network
	}
	d := New(cfg)
	d.patience = 0
	return d
}

// serve has the host answer the machine, and offer it an address by DHCP.
func (w *world) serve(t testing.TB, offers string, environment ...string) {
	t.Helper()
	w.stopServing()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("nsenter", "-t", w.host.pid, "-n", self)
	cmd.Env = append(append(os.Environ(), responderOffers+"="+offers), environment...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.stopServing = sync.OnceFunc(func() { stdin.Close(); cmd.Wait() })
	t.Cleanup(w.stopServing)
	if _, err := stdout.Read(make([]byte, 1)); err != nil {
		t.Fatalf("the responder does not start: %v", err)
	}
}

// listen has a service of the machine accept connections.
func (w *world) listen(t testing.TB, at string) (l net.Listener) {
	t.Helper()
	err := w.guest.space().in(func() (err error) {
		l, err = net.Listen("tcp", at)
		for range 100 { // one that was closed is let go of only when its last Accept returns
			if !errors.Is(err, unix.EADDRINUSE) {
				break
			}
			time.Sleep(10 * time.Millisecond)
			l, err = net.Listen("tcp", at)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	return l
}

// scratchPaths are a root directory of a host that is all well.
func scratchPaths(t testing.TB) Paths {
	t.Helper()
	root := t.TempDir()
	p := Paths{
		States: root + "/run/systemd/machines", Nspawn: root + "/run/systemd/nspawn", Locks: root + "/run/systemd/nspawn/locks",
		Images: []string{root + "/var/lib/machines"}, Records: root + "/run/machd/network",
		Resolv: root + "/etc/resolv.conf", Sysctl: "/proc/sys", Processes: "/proc", Units: root + "/etc/systemd/system",
	}
	for _, dir := range append([]string{p.States, p.Nspawn + "/unix-export", p.Locks, p.Records}, p.Images...) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

type fakeNetwork struct {
	attachments []Attachment
	starting    []string
	mend        func() error
}

func (f *fakeNetwork) Attachments() []Attachment { return f.attachments }
func (f *fakeNetwork) Starting() []string        { return f.starting }
func (f *fakeNetwork) Mend(context.Context) ([]string, error) {
	return []string{"mended"}, f.mend()
}

type fakeUnits struct {
	active  []string
	busy    map[string]bool // units with processes
	stopped []string
}

func (f *fakeUnits) ListActive(context.Context, string) ([]string, error) { return f.active, nil }

func (f *fakeUnits) HasProcesses(_ context.Context, name string) (bool, error) {
	return f.busy[name], nil
}

func (f *fakeUnits) Stop(_ context.Context, name, _ string) (dbus.ObjectPath, error) {
	f.stopped = append(f.stopped, name)
	for i, unit := range f.active {
		if unit == name {
			f.active = append(f.active[:i:i], f.active[i+1:]...)
			break
		}
	}
	return "/", nil
}

// look makes one check alone, of a machine or of the host.
func (w *world) look(t testing.TB, machine, name string) (found []machd.Finding) {
	t.Helper()
	v := w.doctor.newVisit()
	defer v.close()
	v.single = machine != ""
	if machine == "" {
		return plain(run(t.Context(), v, &v.running, "", only(t, hostChecks, name)))
	}
	p, ok := v.patient(machine)
	if !ok {
		t.Fatalf("there is no %s", machine)
	}
	defer p.close()
	all := append(slices.Clone(quietChecks), livelyChecks...)
	return plain(run(t.Context(), p, &p.checks, machine, only(t, all, name)))
}

func only[T any](t testing.TB, checks []check[T], name string) []check[T] {
	t.Helper()
	for _, c := range checks {
		if c.name == name {
			return []check[T]{c}
		}
	}
	t.Fatalf("there is no check %s", name)
	return nil
}

// wantWell fails if anything is found.
func wantWell(t testing.TB, found []machd.Finding) {
	t.Helper()
	for _, f := range found {
		if f.Level != machd.LevelOK {
			t.Errorf("found %+v", f)
		}
	}
}

// wantFinding fails unless something is found that has each of the words in what
// it says.
func wantFinding(t testing.TB, found []machd.Finding, words ...string) (is machd.Finding) {
	t.Helper()
	for _, f := range found {
		text := f.What + "\n" + f.Why + "\n" + f.Command
		all := f.Level != machd.LevelOK
		for _, word := range words {
			all = all && strings.Contains(text, word)
		}
		if all {
			return f
		}
	}
	t.Errorf("nothing found says %q; there is %+v", words, found)
	return is
}

func (b *box) kill(t testing.TB) {
	t.Helper()
	if err := b.leader.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if !b.leader.Alive() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("it does not end")
}

// resolv writes its /etc/resolv.conf.
func (b *box) resolv(t testing.TB, text string) {
	write(t, "/proc/"+b.pid+"/root/etc/resolv.conf", text+"\n")
}

func containsAny(text string, words ...string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(text, w) })
}
