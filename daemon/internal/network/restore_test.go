package network

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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
