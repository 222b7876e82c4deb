package link_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	vns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/link"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/test/leak"
)

func TestMain(m *testing.M) {
	if os.Getenv(asListener) != "" {
		if err := listenAndWait(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getuid() != 0 {
		fmt.Fprintln(os.Stderr, "these tests make network namespaces: run them as root")
		os.Exit(1)
	}
	leak.Main(m)
}

// A space is a network namespace of the test's own. Its links are made and
// looked at by another way than package link's.
type space struct {
	*link.Space
	tb     testing.TB
	leader *proc.PIDFD
	ns     vns.NsHandle
	other  *netlink.Handle
	kill   func()
}

// newSpace makes a namespace, with others of their own kinds if flags say so.
// Its link to itself is up.
func newSpace(tb testing.TB, flags uintptr) space {
	tb.Helper()
	n := space{tb: tb}
	cmd := exec.Command("sleep", "infinity")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | flags}
	if flags&syscall.CLONE_NEWUSER != 0 {
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 1 << 20, Size: 1 << 16}}
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = ids, ids
	}
	must(tb, cmd.Start())
	n.kill = func() { cmd.Process.Kill(); cmd.Wait() }
	tb.Cleanup(n.kill)
	var err error
	n.leader, err = proc.Open(cmd.Process.Pid)
	must(tb, err)
	tb.Cleanup(func() { n.leader.Close() })
	n.ns, err = vns.GetFromPid(cmd.Process.Pid)
	must(tb, err)
	tb.Cleanup(func() { n.ns.Close() })
	n.other, err = netlink.NewHandleAt(n.ns, unix.NETLINK_ROUTE)
	must(tb, err)
	tb.Cleanup(n.other.Close)
	n.Space, err = link.Of(n.leader)
	must(tb, err)
	tb.Cleanup(func() { must(tb, n.Close()) })
	n.up("lo")
	return n
}

// connect makes a veth from n's name to peer's peerName. Both are down.
func (n space) connect(name string, peer space, peerName string) {
	n.tb.Helper()
	must(n.tb, n.other.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: peerName, PeerNamespace: netlink.NsFd(peer.ns),
	}))
}

// add makes a link and gives it addresses.
func (n space) add(l netlink.Link, addresses ...string) {
	n.tb.Helper()
	must(n.tb, n.other.LinkAdd(l))
	n.up(l.Attrs().Name, addresses...)
}

// up switches a link on and gives it addresses, which come at once.
func (n space) up(name string, addresses ...string) {
	n.tb.Helper()
	l := n.find(name)
	for _, text := range addresses {
		address, err := netlink.ParseAddr(text)
		must(n.tb, err)
		address.Flags = unix.IFA_F_NODAD
		must(n.tb, n.other.AddrAdd(l, address))
	}
	must(n.tb, n.other.LinkSetUp(l))
}

func (n space) find(name string) netlink.Link {
	n.tb.Helper()
	l, err := n.other.LinkByName(name)
	must(n.tb, err)
	return l
}

// route makes one, which leads over a link, by a router if via is not "".
func (n space) route(dst, via, over string) {
	n.tb.Helper()
	r := netlink.Route{LinkIndex: n.find(over).Attrs().Index}
	_, r.Dst, _ = net.ParseCIDR(dst)
	if via != "" {
		r.Gw = netip.MustParseAddr(via).AsSlice()
	}
	must(n.tb, n.other.RouteAdd(&r))
}

// addressesOf returns the addresses of a link but those it has by itself.
func (n space) addressesOf(name string) string {
	n.tb.Helper()
	list, err := n.other.AddrList(n.find(name), netlink.FAMILY_ALL)
	must(n.tb, err)
	var found []string
	for _, a := range list {
		if !a.IP.IsLinkLocalUnicast() {
			found = append(found, a.IPNet.String())
		}
	}
	slices.Sort(found)
	return strings.Join(found, " ")
}

// routesOf returns the routes of the main table over a link that lead beyond it.
func (n space) routesOf(name string) string {
	n.tb.Helper()
	list, err := n.other.RouteList(n.find(name), netlink.FAMILY_ALL)
	must(n.tb, err)
	var found []string
	for _, r := range list {
		if r.Gw != nil {
			found = append(found, fmt.Sprintf("%s via %s", r.Dst, r.Gw))
		}
	}
	slices.Sort(found)
	return strings.Join(found, ", ")
}

// is fails the test unless a switch has a value.
func (n space) is(path, want string) {
	n.tb.Helper()
	got, err := n.Sysctl(path)
	must(n.tb, err)
	if got != want {
		n.tb.Errorf("%s is %s, want %s", path, got, want)
	}
}

func (n space) set(path, value string) {
	n.tb.Helper()
	must(n.tb, n.SetSysctl(path, value))
}

func prefixes(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
