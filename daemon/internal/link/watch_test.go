package link_test

import (
	"context"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

func TestChangesAreTold(t *testing.T) {
	t.Parallel()
	host := newSpace(t, 0)
	ctx, stop := context.WithCancel(t.Context())
	told := make(chan struct{}, 100)
	ended := make(chan error, 1)
	go func() { ended <- host.Watch(ctx, func() { told <- struct{}{} }) }()
	select {
	case <-told:
	case <-time.After(patience):
		t.Fatal("it does not say that it has begun")
	}
	quiet(told)
	for what, change := range map[string]func(){
		"link":    func() { host.add(kind("br0", "bridge")) },
		"address": func() { host.up("lo", "10.8.8.8/32") },
		"IPv6":    func() { host.up("lo", "fd00::8/128") },
		"route":   func() { host.route("10.9.0.0/16", "", "lo") },
	} {
		change()
		select {
		case <-told:
		case <-time.After(patience):
			t.Errorf("a change of the %s is not told", what)
		}
		quiet(told)
	}
	// Many changes are told once or twice, the last one too.
	address, _ := netlink.ParseAddr("10.7.7.7/32")
	for range 500 {
		must(t, host.other.AddrReplace(host.find("lo"), address))
		must(t, host.other.AddrDel(host.find("lo"), address))
	}
	if n := quiet(told); n == 0 || n > 20 {
		t.Errorf("500 changes at once are told %d times", n)
	}
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("it does not end")
	}
}

// quiet waits until nothing is told any more, and returns how often it was.
func quiet(told <-chan struct{}) (n int) {
	for {
		select {
		case <-told:
			n++
		case <-time.After(600 * time.Millisecond):
			return n
		}
	}
}
