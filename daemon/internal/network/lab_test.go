package network

import (
	"context"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	vns "github.com/vishvananda/netns"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/test/netlab"
)

func TestMain(m *testing.M) { netlab.Main(m) }

// A lab is a host with a manager and a link to elsewhere, up0.
type lab struct {
	testing.TB
	*Manager
	paths   Paths
	active  map[string]bool // units that run
	silent  error           // why nobody tells
	clock   uint64
	outside vns.NsHandle // who is at 192.0.2.2, and knows no way to machines

	mu       sync.Mutex
	machines map[string]machine.Machine

	changed []string // machines that were told to have other ports
}

func newLab(t testing.TB) *lab {
	t.Helper()
	dir := t.TempDir()
	l := &lab{TB: t, machines: map[string]machine.Machine{}, active: map[string]bool{}, clock: 1, paths: Paths{
		Config: dir + "/network.conf", Run: dir + "/run", Leases: dir + "/lib/addresses", Settings: []string{dir + "/nspawn"},
		MachineID: dir + "/id", Networkd: []string{dir + "/etc-networkd"}, Ours: dir + "/run-networkd", Stock: dir + "/lib-networkd",
		NM: dir + "/nm/conf.d", Resolv: dir + "/resolv.conf",
	}}
	l.write(l.paths.MachineID, "0123456789abcdef0123456789abcdef\n")
	run(t, "ip", "link", "set", "lo", "up")
	l.outside = netlab.New(t)
	l.uplink("up0", "eth0")
	run(t, "ip", "address", "add", "192.0.2.1/24", "dev", "up0")
	run(t, "ip", "link", "set", "up0", "up")
	l.far("ip", "address", "add", "192.0.2.2/24", "dev", "eth0")
	l.far("ip", "link", "set", "eth0", "up")
	l.restart()
	t.Cleanup(l.stop)
	return l
}

// uplink makes a link to elsewhere.
func (l *lab) uplink(name, far string) {
	l.Helper()
	up := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: far, PeerNamespace: netlink.NsFd(l.outside)}
	l.must(netlink.LinkAdd(up))
	l.Cleanup(func() { netlink.LinkDel(up) })
	// One that comes by itself would come at any time.
	run(l, "ip", "link", "set", name, "addrgenmode", "none")
}

// fromFar connects from elsewhere.
func (l *lab) fromFar(address string) (err error) {
	netlab.In(l, l.outside, func() error {
		var c net.Conn
		if _, c, err = dial(address); err == nil {
			c.Close()
		}
		return nil
	})
	return err
}

// far runs a command on the far end of the host's link.
func (l *lab) far(argv ...string) {
	l.Helper()
	netlab.In(l, l.outside, func() error {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%q: %w\n%s", argv, err, out)
		}
		return nil
	})
}

func (l *lab) write(path, text string) {
	l.Helper()
	l.must(os.MkdirAll(filepath.Dir(path), 0o755))
	l.must(os.WriteFile(path, []byte(text), 0o644))
}

func (l *lab) must(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

func run(t testing.TB, argv ...string) {
	t.Helper()
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", argv, err, out)
	}
}

// restart is a daemon that ends at once, and another one that comes.
func (l *lab) restart() {
	l.Helper()
	l.stop()
	m, err := New(Config{
		Paths: l.paths, Machines: func() View { return l },
		Active:  func(_ context.Context, unit string) (bool, error) { return l.active[unit], l.silent },
		Reload:  func(context.Context, string) {},
		Changed: func(name string) { l.changed = append(l.changed, name) },
		Log:     slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	l.must(err)
	l.Manager = m
	m.Restore()
	m.takeOver(l.Context())
}

// stop is the end of the daemon.
func (l *lab) stop() {
	if l.Manager != nil {
		l.Manager.endServices()
	}
}

func (l *lab) Get(name string) (machine.Machine, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m, ok := l.machines[name]
	return m, ok
}

func (l *lab) All() iter.Seq[machine.Machine] {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Values(maps.Clone(l.machines))
}

// A guestHost is a machine: a process in a network namespace, with one end of a
// link.
type guestHost struct {
	machine.Machine
	ns      vns.NsHandle
	link    netlink.Link // the host's end
	process *os.Process
}

// boot makes a machine as systemd-nspawn does, with a link that is down, in a
// bridge if that is not "".
func (l *lab) boot(name, link, bridge string) guestHost {
	l.Helper()
	ns := netlab.New(l)
	var cmd *exec.Cmd
	netlab.In(l, ns, func() error {
		cmd = exec.Command("sleep", "infinity")
		return cmd.Start()
	})
	l.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: link}, PeerName: guestLink, PeerNamespace: netlink.NsFd(ns)}
	l.must(netlink.LinkAdd(veth))
	l.Cleanup(func() { netlink.LinkDel(veth) })
	index := veth.Index
	if bridge != "" {
		master, err := netlink.LinkByName(bridge)
		l.must(err)
		l.must(netlink.LinkSetMaster(veth, master))
		l.must(netlink.LinkSetUp(veth))
		index = master.Attrs().Index
	}
	leader, err := proc.Open(cmd.Process.Pid)
	l.must(err)
	l.Cleanup(func() { leader.Close() })
	l.clock++
	return guestHost{machine.Machine{
		Name: name, Class: machine1.ClassContainer, Leader: leader, NetworkInterfaces: []int32{int32(index)}, Monotonic: l.clock,
	}, ns, veth, cmd.Process}
}

// start boots a machine and registers it.
func (l *lab) start(name string) guestHost {
	l.Helper()
	g := l.boot(name, "ve-"+name, "")
	l.register(g)
	return g
}

func (l *lab) register(g guestHost) {
	l.Attach(l.Context(), g.Machine)
	l.mu.Lock()
	l.machines[g.Name] = g.Machine
	l.mu.Unlock()
}

// end is the end of a machine, whose link goes.
func (l *lab) end(g guestHost) {
	l.Helper()
	l.mu.Lock()
	delete(l.machines, g.Name)
	l.mu.Unlock()
	l.must(netlink.LinkDel(g.link))
	l.Detach(g.Machine)
}

// removePorts takes all of the ports back.
func (l *lab) removePorts(name string, ports []machd.Port, inward bool) {
	l.Helper()
	removed, err := l.RemovePorts(l.Context(), name, ports, inward)
	l.must(err)
	if !slices.Equal(removed, ports) {
		l.Errorf("removed are %v, not %v", removed, ports)
	}
}

// status is what is told of a machine that has a network.
func (l *lab) status(g guestHost) machd.NetworkStatus {
	l.Helper()
	s, err := l.Describe(g.Name)
	l.must(err)
	return s
}

// listen echoes what comes to a port of the machine, and first says where it
// came from.
func (l *lab) listen(g guestHost, port int) {
	l.Helper()
	netlab.In(l, g.ns, func() error {
		for _, family := range []string{"tcp4", "tcp6"} {
			listener, err := net.Listen(family, fmt.Sprintf(":%d", port))
			if err != nil {
				return err
			}
			l.Cleanup(func() { listener.Close() })
			go echo(listener)
		}
		return nil
	})
}

func echo(listener net.Listener) {
	for {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		fmt.Fprintln(c, c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap())
		go io.Copy(c, c)
	}
}

// dial connects from the host, and returns from where the machine sees it come.
func dial(address string) (seen netip.Addr, c net.Conn, err error) {
	if c, err = net.DialTimeout("tcp", address, time.Second); err != nil {
		return netip.Addr{}, nil, err
	}
	var text string
	c.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := fmt.Fscanln(c, &text); err != nil {
		c.Close()
		return netip.Addr{}, nil, err
	}
	seen, err = netip.ParseAddr(text)
	return seen, c, err
}

func ports(t testing.TB, texts ...string) (list []machd.Port) {
	t.Helper()
	for _, text := range texts {
		p, err := machd.ParsePorts(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p...)
	}
	return list
}
