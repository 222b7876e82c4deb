package link_test

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/machd/machd/daemon/internal/link"
	"github.com/machd/machd/daemon/internal/proc"
)

// BenchmarkMachine is what a machine takes that comes and goes: both ends of its
// link, and forwarding, with others there.
func BenchmarkMachine(b *testing.B) {
	for _, others := range []int{0, 100} {
		b.Run(fmt.Sprint(others, " others"), func(b *testing.B) {
			host, machine := newSpace(b, 0), newSpace(b, 0)
			host.connect("eth0", machine, "lan")
			host.up("eth0", "192.0.2.2/24", "2001:db8::2/64")
			for i := range others {
				name := fmt.Sprint("ve-", i)
				host.connect(name, machine, fmt.Sprint("h", i))
				host.up(name, fmt.Sprintf("10.7.%d.1/30", i))
			}
			host.connect("ve-a", machine, "host0")
			record := filepath.Join(b.TempDir(), "sysctl")
			// As in the daemon, which enters no namespace to change the host's.
			must(b, host.Inside(func() error {
				ours, err := link.Host()
				if err != nil {
					return err
				}
				defer ours.Close()
				for b.Loop() {
					if err := comeAndGo(b, ours, machine.leader, record); err != nil {
						return err
					}
				}
				return nil
			}))
		})
	}
}

// comeAndGo sets up the network of a machine, and takes it back while nobody
// measures.
func comeAndGo(b *testing.B, host *link.Space, leader *proc.PIDFD, record string) error {
	f, err := link.NewForwarder(host, record, ours, func(_, _ []string) error { return nil })
	if err != nil {
		return err
	}
	l, err := host.Link("ve-a")
	if err != nil {
		return err
	}
	back, err := host.Configure(link.Config{Index: l.Index, Up: true, Addrs: prefixes("10.0.1.1/30", "fd00:1::1/64"), NoDAD: true})
	if err != nil {
		return err
	}
	inside, err := link.Of(leader)
	if err != nil {
		return err
	}
	defer inside.Close()
	backInside, err := inside.Configure(ofAMachine)
	if err != nil {
		return err
	}
	if err := host.Loopback6(l.Index); err != nil {
		return err
	}
	_, err = f.Enable([]string{"ve-a"}, []string{"eth0"})
	b.StopTimer()
	defer b.StartTimer()
	return errors.Join(err, f.Release("ve-a"), backInside(), back())
}

// BenchmarkListener is who has a port that is to be published: nobody.
func BenchmarkListener(b *testing.B) {
	host := newSpace(b, 0)
	for b.Loop() {
		if _, found, err := host.Listener(6, netip.Addr{}, 80); found || err != nil {
			b.Fatal(found, err)
		}
	}
}
