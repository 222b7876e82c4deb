package netns_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	vns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/netns"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machine1"
)

// A network is a machine with nothing but a network.
type network struct {
	leader *proc.PIDFD
	*netlink.Handle
	kill func()
}

func startNetwork(tb testing.TB) network {
	tb.Helper()
	n := startProcess(tb, syscall.CLONE_NEWNET)
	ns, err := vns.GetFromPid(n.leader.PID())
	if err != nil {
		tb.Fatal(err)
	}
	defer ns.Close()
	if n.Handle, err = netlink.NewHandleAt(ns, unix.NETLINK_ROUTE); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(n.Close)
	return n
}

func startProcess(tb testing.TB, flags uintptr) network {
	tb.Helper()
	if os.Getuid() != 0 {
		tb.Skip("making a network namespace needs root")
	}
	cmd := exec.Command("sleep", "infinity")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	if err := cmd.Start(); err != nil {
		tb.Skipf("cannot make a network namespace here: %v", err)
	}
	n := network{kill: func() { cmd.Process.Kill(); cmd.Wait() }}
	tb.Cleanup(n.kill)
	var err error
	if n.leader, err = proc.Open(cmd.Process.Pid); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { n.leader.Close() })
	return n
}

// add makes a link and gives it addresses, which come at once.
func (n network) add(tb testing.TB, l netlink.Link, addresses ...string) {
	tb.Helper()
	if err := n.LinkAdd(l); err != nil {
		tb.Skipf("cannot make a link of type %s here: %v", l.Type(), err)
	}
	n.set(tb, l.Attrs().Name, addresses...)
}

func (n network) set(tb testing.TB, name string, addresses ...string) {
	tb.Helper()
	l, err := n.LinkByName(name)
	if err != nil {
		tb.Fatal(err)
	}
	if err := n.LinkSetUp(l); err != nil {
		tb.Fatal(err)
	}
	for _, text := range addresses {
		a, err := netlink.ParseAddr(text)
		if err != nil {
			tb.Fatal(err)
		}
		a.Flags = unix.IFA_F_NODAD
		if err := n.AddrAdd(l, a); err != nil {
			tb.Fatalf("%s: %v", text, err)
		}
	}
}

// addVeth makes a link to the host, called name inside.
func (n network) addVeth(tb testing.TB, name string, addresses ...string) {
	tb.Helper()
	veth := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprintf("ve-%d", n.leader.PID())},
		PeerName:  name, PeerNamespace: netlink.NsPid(n.leader.PID()),
	}
	if err := netlink.LinkAdd(veth); err != nil {
		tb.Skipf("cannot make a veth here: %v", err)
	}
	n.set(tb, name, addresses...)
}

func bridge(name string) netlink.Link {
	return &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}
}

// inner is a link between two ends in the machine.
func inner(name string) netlink.Link {
	return &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "-peer"}
}

// get returns the addresses of n as text, without those the kernel makes up.
func (n network) get(tb testing.TB) string {
	tb.Helper()
	list, err := netns.Addresses(tb.Context(), n.leader, "m")
	if err != nil {
		tb.Fatal(err)
	}
	return join(tb, list)
}

func join(tb testing.TB, list []machine1.Address) string {
	tb.Helper()
	var out []string
	for _, a := range list {
		addr := a.Addr()
		if !addr.IsValid() || addr.Is4() != (a.Family == unix.AF_INET) {
			tb.Errorf("address %+v", a)
		}
		if !addr.Is6() || !addr.IsLinkLocalUnicast() {
			out = append(out, addr.String())
		}
	}
	return strings.Join(out, " ")
}
