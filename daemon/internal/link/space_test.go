package link_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/link"
	"github.com/machd/machd/daemon/internal/proc"
)

func TestTheHostIsTheNamespaceWeAreIn(t *testing.T) {
	t.Parallel()
	host, err := link.Host()
	must(t, err)
	defer host.Close()
	lo, err := host.Link("lo")
	must(t, err)
	ours, err := net.InterfaceByName("lo")
	must(t, err)
	if lo.Index != ours.Index || lo.MTU != ours.MTU {
		t.Errorf("got %+v, want %+v", lo, ours)
	}
}

func TestAProcessInOurNamespaceHasNoneOfItsOwn(t *testing.T) {
	t.Parallel()
	self, err := proc.Open(os.Getpid())
	must(t, err)
	defer self.Close()
	if _, err := link.Of(self); !errors.Is(err, link.ErrShared) {
		t.Errorf("got %v", err)
	}
}

func TestAProcessThatHasEndedHasNoNamespace(t *testing.T) {
	t.Parallel()
	machine := newSpace(t, 0)
	machine.kill()
	if _, err := link.Of(machine.leader); !errors.Is(err, unix.ESRCH) {
		t.Errorf("got %v", err)
	}
	// Who has it already keeps it.
	if _, err := machine.Link("lo"); err != nil {
		t.Error(err)
	}
}

func TestALinkThatIsNotThere(t *testing.T) {
	t.Parallel()
	machine := newSpace(t, 0)
	_, byName := machine.Link("eth7")
	_, byIndex := machine.ByIndex(77)
	_, byLongName := machine.Link("a-name-that-is-longer-than-others")
	_, configured := machine.Configure(link.Config{Link: "eth7", Up: true})
	for _, err := range []error{byName, byIndex, byLongName, configured} {
		if !errors.Is(err, link.ErrNoLink) {
			t.Errorf("got %v", err)
		}
	}
}

func TestAClosedSpaceSaysSo(t *testing.T) {
	t.Parallel()
	machine := newSpace(t, 0)
	other, err := link.Of(machine.leader)
	must(t, err)
	must(t, other.Close())
	if _, err := other.Links(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// A machine's root may make as much of everything as the kernel lets him.
func TestAMachineCannotMakeUsReadWithoutEnd(t *testing.T) {
	t.Parallel()
	machine := newSpace(t, syscall.CLONE_NEWUSER)
	lo := machine.find("lo")
	for i := range 5000 {
		address := &netlink.Addr{IPNet: netlink.NewIPNet(net.IPv4(10, 0, byte(i>>8), byte(i)).To4())}
		must(t, machine.other.AddrAdd(lo, address))
	}
	addresses, err := machine.Addresses()
	must(t, err)
	routes, err := machine.Routes()
	must(t, err)
	if len(addresses) != 4096 || len(routes) < 4096 || len(routes) > 2*4096 {
		t.Errorf("got %d addresses and %d routes", len(addresses), len(routes))
	}
}

func TestManyUseManySpaces(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	for i := range 10 {
		machine := newSpace(t, 0)
		machine.add(kind(fmt.Sprintf("br%d", i), "bridge"), fmt.Sprintf("10.1.%d.1/24", i))
		for range 4 {
			all.Go(func() {
				for range 20 {
					l, err := machine.Link(fmt.Sprintf("br%d", i))
					if want := fmt.Sprintf("10.1.%d.1/24", i); err != nil || l.Addrs[0].String() != want {
						t.Errorf("got %v, %v; want %s", l.Addrs, err, want)
					}
					if why := machine.WithoutIPv6(l.Name); why != "" {
						t.Error(why)
					}
				}
			})
		}
	}
	all.Wait()
}

func TestAThreadThatWasInsideIsThrownAway(t *testing.T) {
	t.Parallel()
	machine := newSpace(t, 0)
	var thread string
	must(t, machine.Inside(func() error {
		thread = fmt.Sprintf("/proc/self/task/%d", unix.Gettid())
		inside, err := os.Readlink(thread + "/ns/net")
		if outside, _ := os.Readlink("/proc/self/ns/net"); inside == outside {
			t.Error("it is in our namespace")
		}
		return err
	}))
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(thread); errors.Is(err, os.ErrNotExist) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is still there", thread)
		}
	}
}
