package responder

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink"
)

// machines makes n links, each with a responder.
func (l *lab) machines(n int) (all []*Responder) {
	l.Helper()
	for i := range n {
		link := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprintf("vz-n%d", i)}}
		l.must(netlink.LinkAdd(link))
		l.Cleanup(func() { netlink.LinkDel(link) })
		l.must(netlink.LinkSetUp(link))
		l.cfg.Link, l.cfg.Index = link.Name, link.Index
		all = append(all, l.start())
	}
	return all
}

// A host has hundreds of machines, and each of them a responder that has
// nothing to do but once in its life.
func TestResponderCostsLittle(t *testing.T) {
	const count, most = 20, 16 << 10 // bytes of each, with its stack
	l := &lab{TB: t, cfg: testConfig()}
	before, goroutines := memory(), runtime.NumGoroutine()
	l.machines(count)
	time.Sleep(500 * time.Millisecond) // each announces its router, if it can
	each := (memory() - before) / count
	if g := runtime.NumGoroutine() - goroutines; g != count || each > most {
		t.Errorf("%d responders have %d goroutines, and %d bytes each; want one each, and at most %d bytes", count, g, each, most)
	}
	t.Logf("%d bytes each", each)
}

func memory() int {
	for range 3 { // stacks shrink and pools empty step by step
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc + m.StackInuse)
}

// A guest that asks as fast as it can gets answers at the rate that one link
// has, and answers again when it has calmed down.
func TestFloodOfDHCPIsBounded(t *testing.T) {
	l := newLab(t)
	l.start()
	conn := l.guestUDP("udp4", ":68")
	l.must(conn.SetReadBuffer(8 << 20))
	discover := ask4(t, dhcpv4.MessageTypeDiscover).ToBytes()
	began, sent := time.Now(), 0
	for ; time.Since(began) < 2*time.Second; sent++ {
		conn.WriteTo(discover, toServers4) // what is lost is lost
	}
	answers := l.drain(conn)
	// What was waiting in the kernel is answered, too.
	most := packetBurst + int(time.Since(began).Seconds()*packetRate) + batch
	if sent < 4*most {
		t.Fatalf("%d messages are no flood", sent)
	}
	if answers > most || answers < packetBurst/2 {
		t.Errorf("%d of %d messages were answered, want %d at most", answers, sent, most)
	}
	l.exchange(conn, discover, toServers4)
}

// drain returns how many datagrams come until none does for a moment.
func (l *lab) drain(conn interface {
	SetReadDeadline(time.Time) error
	Read([]byte) (int, error)
}) (count int) {
	l.Helper()
	buffer := make([]byte, bufferSize)
	for {
		l.must(conn.SetReadDeadline(time.Now().Add(time.Second)))
		if _, err := conn.Read(buffer); err != nil {
			return count
		}
		count++
	}
}

func TestBucket(t *testing.T) {
	t.Parallel()
	b, now := newBucket(10, 20), time.Unix(0, 0)
	take := func() (count int) {
		for b.wait(now) == 0 {
			b.spend()
			count++
		}
		return count
	}
	if got := take(); got != 20 {
		t.Errorf("%d at once, want 20", got)
	}
	if got := b.wait(now); got != 300*time.Millisecond {
		t.Errorf("then one has to wait for %v, want until there are three", got)
	}
	now = now.Add(500 * time.Millisecond)
	if got := take(); got != 5 {
		t.Errorf("%d after half a second, want 5", got)
	}
	now = now.Add(time.Hour)
	if got := take(); got != 20 {
		t.Errorf("%d after an hour, want 20", got)
	}
	now = now.Add(-time.Hour) // a clock that is set back gives nothing, and takes nothing
	if got := take(); got != 0 {
		t.Errorf("%d after the clock was set back, want none", got)
	}
}

// BenchmarkHost300 is what 300 machines cost: memory, and time when the daemon
// ends.
func BenchmarkHost300(b *testing.B) {
	l := &lab{TB: b, cfg: testConfig()}
	for range b.N {
		before := memory()
		all := l.machines(300)
		b.ReportMetric(float64(memory()-before)/300, "B/responder")
		began := time.Now()
		CloseAll(all)
		b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms-to-close")
	}
}

// BenchmarkStart is what a responder adds to the start of a machine, and its
// end to the end.
func BenchmarkStart(b *testing.B) {
	l := newLab(b)
	var ended time.Duration
	for b.Loop() {
		r, err := Start(l.cfg)
		l.must(err)
		began := time.Now()
		r.Close()
		ended += time.Since(began)
	}
	b.ReportMetric(float64(ended.Microseconds())/float64(b.N), "µs-of-it-to-close/op")
}
