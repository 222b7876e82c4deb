package network

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/pkg/machd"
)

func TestADaemonThatComesNextGoesOn(t *testing.T) {
	l := newLab(t)
	before := traces(t, l)
	stays, goes := l.start("stays"), l.start("goes")
	l.listen(stays, 80)
	l.must(l.AddPorts(t.Context(), "stays", ports(t, "8080:80"), false))
	l.must(l.AddPorts(t.Context(), "goes", ports(t, "8081:80"), false))
	_, c, err := dial("127.0.0.1:8080")
	l.must(err)
	defer c.Close()

	l.mu.Lock()
	delete(l.machines, "goes")
	l.mu.Unlock()
	l.restart()
	fmt.Fprintln(c, "hello")
	var heard string
	if _, err := fmt.Fscanln(c, &heard); err != nil || heard != "hello" {
		t.Errorf("the connection is lost: %q, %v", heard, err)
	}
	if told, err := l.Ports(t.Context(), ""); err != nil || len(told) != 1 || told[0].Machine != "stays" || told[0].Packets == 0 {
		t.Errorf("there are the ports %+v, %v", told, err)
	}
	if _, _, err := dial("127.0.0.1:8081"); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("the port of a machine that ended is there still: %v", err)
	}
	l.end(stays)
	run(t, "ip", "link", "delete", "ve-"+goes.Name)
	if after := traces(t, l); after != before {
		t.Errorf("they have left\n%s\nof before\n%s", after, before)
	}
}

// watching has something watched until the test ends.
func (l *lab) watching(watch func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- watch(ctx) }()
	l.Cleanup(func() {
		cancel()
		l.must(<-ended)
	})
	time.Sleep(50 * time.Millisecond) // it begins to listen, and tells nobody
}

// eventually waits until something is so.
func (l *lab) eventually(is func() error) {
	l.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := is()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			l.Fatal(err)
		}
	}
}

func TestRulesThatSomebodyRemovesAreRestored(t *testing.T) {
	l := newLab(t)
	g := l.start("web")
	l.listen(g, 80)
	l.must(l.AddPorts(t.Context(), "web", ports(t, "8080:80"), false))
	l.watching(l.watchRules)
	run(t, "nft", "flush", "ruleset")
	l.eventually(func() error {
		_, c, err := dial("127.0.0.1:8080")
		if err == nil {
			c.Close()
		}
		return err
	})
	l.end(g)
}

func TestALinkToElsewhereThatComesLaterForwards(t *testing.T) {
	l := newLab(t)
	g := l.start("web")
	l.listen(g, 80)
	l.must(l.AddPorts(t.Context(), "web", ports(t, "8080:80"), false))
	l.watching(l.watchHost)
	l.uplink("up1", "eth1")
	run(t, "ip", "address", "add", "198.51.100.1/24", "dev", "up1")
	run(t, "ip", "link", "set", "up1", "up")
	l.far("ip", "address", "add", "198.51.100.2/24", "dev", "eth1")
	l.far("ip", "link", "set", "eth1", "up")
	l.eventually(func() error { return l.fromFar("198.51.100.1:8080") })
	l.end(g)
}

// What a start was told goes with its unit, whenever PID 1 tells.
func TestAUnitThatHasGoneIsForgotten(t *testing.T) {
	l := newLab(t)
	request := Request{Machine: "book", Unit: "machine-book.service", Kind: machd.LinkVeth, Options: machd.NetworkOptions{Publish: []string{"8080"}}}
	reserve := func() {
		plan, err := l.Plan(request)
		l.must(err)
		l.must(l.Reserve(plan))
	}
	removed := unit.Event{Kind: unit.UnitRemoved, Unit: request.Unit}
	reserve()
	l.UnitEvent(removed) // the unit of the start before
	if l.of("book") == nil {
		t.Fatal("what a start under way has reserved is forgotten")
	}
	l.active[request.Unit] = true
	g := l.start("book")
	l.UnitEvent(removed)
	if told, _ := l.Ports(t.Context(), "book"); len(told) != 1 {
		t.Errorf("a machine that runs has the ports %+v", told)
	}
	l.end(g)
	l.UnitEvent(unit.Event{Kind: unit.UnitRemoved, Unit: "machine-other.service"})
	if l.of("book") == nil {
		t.Error("it is forgotten while its unit is there")
	}
	l.UnitEvent(removed)
	if l.of("book") != nil {
		t.Error("it is kept for a unit that has gone")
	}
}

// PID 1 may have said that the unit has gone before the machine was known to have
// ended, and then have too much to do to say it again at once.
func TestAUnitIsAskedAfterUntilPID1Tells(t *testing.T) {
	l := newLab(t)
	plan, err := l.Plan(Request{Machine: "book", Unit: "machine-book.service", Kind: machd.LinkVeth})
	l.must(err)
	l.must(l.Reserve(plan))
	g := l.start("book")
	l.UnitEvent(unit.Event{Kind: unit.UnitRemoved, Unit: "machine-book.service"})
	l.silent = context.DeadlineExceeded
	l.end(g)
	if l.of("book") == nil {
		t.Fatal("it is forgotten, and its unit may be there")
	}
	l.silent = nil
	l.watching(l.watchUnits)
	l.eventually(func() error {
		if l.of("book") != nil {
			return errors.New("it is kept for a unit that has gone")
		}
		return nil
	})
	if left, err := os.ReadDir(l.paths.Run); err != nil || len(left) > 0 {
		t.Errorf("its record is left: %v, %v", left, err)
	}
}

// However a change and the end of what it is for meet, no record is left.
func TestRecordsAreOfWhatThereIs(t *testing.T) {
	l := newLab(t)
	for range 200 {
		n := &network{Machine: "x", Kept: true, Unit: "machine-x.service"}
		done := make(chan error)
		go func() { done <- l.put(n) }()
		for l.of("x") == nil {
			runtime.Gosched()
		}
		l.UnitEvent(unit.Event{Kind: unit.UnitRemoved, Unit: n.Unit})
		l.must(<-done)
		if left, err := os.ReadDir(l.paths.Run); err != nil || len(left) > 0 {
			t.Fatalf("there is no network, and its record is left: %v, %v", left, err)
		}
	}
}

// Mend puts back what somebody has taken off a link, and tells of rules.
func TestWhatIsLackingIsMended(t *testing.T) {
	l := newLab(t)
	g := l.start("web")
	if lacking, err := l.Mend(t.Context()); err != nil || len(lacking) > 0 {
		t.Errorf("where all is well it mends %q, %v", lacking, err)
	}
	want := l.inside(g, "ip", "-o", "address", "show", "host0")
	l.inside(g, "ip", "address", "flush", "dev", "host0", "scope", "global")
	run(t, "ip", "link", "set", "ve-web", "down")
	run(t, "nft", "delete", "table", "inet", "machd")
	lacking, err := l.Mend(t.Context())
	if err != nil || len(lacking) == 0 {
		t.Errorf("it mends %q, %v", lacking, err)
	}
	s := l.status(g)
	if got := l.inside(g, "ip", "-o", "address", "show", "host0"); !strings.Contains(got, s.Addresses[0]) || !strings.Contains(got, s.Addresses[1]) {
		t.Errorf("host0 has\n%s\nwant\n%s", got, want)
	}
	l.reaches(g, "192.0.2.1")
	l.end(g)
}
