package nft_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/nft"
)

func TestReconcileMends(t *testing.T) {
	const inet, bridge = "table inet machd", "table bridge machd"
	// Elements, which are lost with the table.
	all := []string{
		"link ve-x", "link vz-y", "uplink eth0 of IPv4", "uplink eth1 of IPv6",
		"inward port 3306/tcp of ve-x at 10.213.1.1", "inward port 3306/tcp of ve-x at fd00:1::1",
		"port 53/udp of 127.0.0.1", "port 53/udp of ::1", "port 8080/tcp of IPv4", "port 8080/tcp of IPv6",
	}
	for _, tt := range []struct {
		name, damage string
		want         []string
	}{
		{"nothing", "", nil},
		{"all rules", "flush ruleset", slices.Concat([]string{inet}, all, []string{bridge, "member vb-z", "router fe80::1"})},
		{"the table", "delete table inet machd", slices.Concat([]string{inet}, all)},
		{"the bridge table", "delete table bridge machd", []string{bridge, "member vb-z", "router fe80::1"}},
		{"the guard", "flush chain inet machd guard", []string{"rules of chain guard of " + inet}},
		{"a rule before ours", "insert rule inet machd guard accept", []string{"rules of chain guard of " + inet}},
		{"a rule after ours", "add rule inet machd through drop", []string{"rules of chain through of " + inet}},
		{"a whole chain", "flush chain inet machd source; delete chain inet machd source", []string{"chain source of " + inet}},
		{"another chain", "add chain inet machd mine { type filter hook input priority 0; }; add rule inet machd mine drop", []string{"chain mine of " + inet}},
		{"another policy", "add chain inet machd through { policy drop; }", []string{"chain through of " + inet}},
		{"another set", "add set inet machd mine { type ipv4_addr; }", []string{"set mine of " + inet}},
		{"asleep", "add table inet machd { flags dormant; }", []string{"flags of " + inet}},
		{"a link", "delete element inet machd links { ve-x }", []string{"link ve-x"}},
		{"all links", "flush set inet machd links", []string{"link ve-x", "link vz-y"}},
		{"a source", `delete element inet machd sources6 { "ve-x" . fd00:1::2 }`, []string{"link ve-x"}},
		{"a port", "delete element inet machd ports4 { tcp . 8080 }", []string{"port 8080/tcp of IPv4"}},
		{
			"a port that leads elsewhere", "delete element inet machd ports4 { tcp . 8080 }; add element inet machd ports4 { tcp . 8080 : 10.9.9.9 . 80 }",
			[]string{"port 8080/tcp of IPv4"},
		},
		{"a port too many", "add element inet machd ports4 { udp . 1 : 10.9.9.9 . 2 }", []string{"udp . 1 in set ports4, which nobody asked for"}},
		{"a network too many", `add element inet machd networks4 { "ve-x" . 10.0.0.0/8 }`, []string{`"ve-x" . 10.0.0.0/8 in set networks4, which nobody asked for`}},
		{"a member", "delete element bridge machd macs { \"vb-z\" . 02:00:00:00:00:01 }", []string{"member vb-z"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			table := openTable(t)
			change(t, table, nft.Rules{}, everything())
			before := ruleset(t)
			if tt.damage != "" {
				run(t, strings.ReplaceAll(tt.damage, "; ", "\n")+"\n", "-f", "-")
				if tt.damage = strings.ReplaceAll(tt.damage, "; }", "}"); ruleset(t) == before {
					t.Fatal("no damage was done")
				}
			}
			mended, err := table.Reconcile(everything())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, mended); diff != "" {
				t.Errorf("mended (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(sorted(before), sorted(ruleset(t))); diff != "" {
				t.Errorf("the tables are not as they were (-before +after):\n%s", diff)
			}
			if mended, err := table.Reconcile(everything()); err != nil || mended != nil {
				t.Errorf("mended again: %q, %v", mended, err)
			}
		})
	}
}

// sorted is what nft tells, whatever the order of elements.
func sorted(text string) []string {
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == ',' })
	for i, line := range lines {
		lines[i] = strings.Trim(strings.TrimPrefix(strings.TrimSpace(line), "elements ="), " {}")
	}
	slices.Sort(lines)
	return lines
}

// A table that is made from the beginning, too.
func TestReconcileMakes(t *testing.T) {
	table := openTable(t)
	if _, err := table.Reconcile(everything()); err != nil {
		t.Fatal(err)
	}
	made := ruleset(t)
	if err := table.Remove(); err != nil {
		t.Fatal(err)
	}
	change(t, table, nft.Rules{}, everything())
	if diff := cmp.Diff(sorted(ruleset(t)), sorted(made)); diff != "" {
		t.Errorf("Reconcile makes something else than Change (-change +reconcile):\n%s", diff)
	}
}

// What stays keeps what it has counted, whatever was damaged but that.
func TestReconcileKeepsCounters(t *testing.T) {
	for _, damage := range []string{
		"delete element inet machd ports4 { tcp . 9 }",
		"flush table inet machd",
		"flush chain inet machd source\ndelete chain inet machd source",
		"add chain inet machd mine",
		"add chain inet machd through { policy drop; }",
	} {
		t.Run(damage, func(t *testing.T) {
			w := newWorld(t)
			w.a.echo(t, "0.0.0.0:80")
			p := port(unix.IPPROTO_UDP, "", 8080, "10.213.0.2:80")
			want := nft.Rules{Links: []nft.Link{w.linkA(), w.linkB()}, Ports: []nft.Port{p, port(unix.IPPROTO_TCP, "", 9, "10.213.0.2:9")}}
			w.change(nft.Rules{}, want)
			w.outside.exchange(t, "192.0.2.1:8080", 3, 72)
			run(t, damage+"\n", "-f", "-")
			if mended, err := w.table.Reconcile(want); err != nil || len(mended) == 0 {
				t.Errorf("mended %q, %v", mended, err)
			}
			w.outside.exchange(t, "192.0.2.1:8080", 2, 72)
			got, err := w.table.Traffic()
			if err != nil {
				t.Fatal(err)
			}
			if want := (nft.Counter{Packets: 10, Bytes: 1000}); got[p.Key()] != want {
				t.Errorf("got %+v, want %+v", got[p.Key()], want)
			}
		})
	}
}

// A connection goes on while tables are made anew.
func TestReconcileKeepsConnections(t *testing.T) {
	w := newWorld(t)
	w.a.echo(t, "0.0.0.0:80")
	want := nft.Rules{Links: []nft.Link{w.linkA(), w.linkB()}, Ports: []nft.Port{port(unix.IPPROTO_UDP, "", 8080, "10.213.0.2:80")}}
	w.change(nft.Rules{}, want)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			w.outside.exchange(t, "192.0.2.1:8080", 50, 72)
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	for range 20 {
		run(t, "", "add", "chain", "inet", "machd", "mine")
		if _, err := w.table.Reconcile(want); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	<-done
}

// Others change tables of theirs all the time.
func TestReconcileWhileOthersChange(t *testing.T) {
	table := openTable(t)
	change(t, table, nft.Rules{}, everything())
	var script strings.Builder
	for i := range 100 {
		fmt.Fprintf(&script, "add chain inet other c%d\n", i)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			run(t, "add table inet other\n"+script.String()+"delete table inet other\n", "-f", "-")
			run(t, "add table inet other\n"+script.String(), "-f", "-")
			run(t, "delete table inet other\n", "-f", "-")
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	for range 100 {
		if mended, err := table.Reconcile(everything()); err != nil || mended != nil {
			t.Errorf("mended %q, %v", mended, err)
			break
		}
	}
	close(stop)
	<-done
}

func TestReconcileOfNothing(t *testing.T) {
	table := openTable(t)
	if mended, err := table.Reconcile(nft.Rules{}); err != nil || mended != nil {
		t.Errorf("mended %q, %v", mended, err)
	}
	if got := ruleset(t); got != "" {
		t.Errorf("there is:\n%s", got)
	}
}

// Watch tells of what others do to the tables, and of nothing else.
func TestWatch(t *testing.T) {
	table := openTable(t)
	second := openTable(t)
	change(t, table, nft.Rules{}, everything())
	ctx, cancel := context.WithCancel(t.Context())
	told, ended := make(chan struct{}, 100), make(chan error, 1)
	go func() { ended <- table.Watch(ctx, func() { told <- struct{}{} }) }()
	wait := func(what string) {
		t.Helper()
		select {
		case <-told:
		case <-time.After(soon):
			t.Fatalf("%s: not told", what)
		}
	}
	quiet := func(what string) {
		t.Helper()
		select {
		case <-told:
			t.Errorf("%s: told", what)
		case <-time.After(never):
		}
	}
	wait("what was before")

	more := nft.Rules{Ports: []nft.Port{port(unix.IPPROTO_TCP, "", 1, "10.213.1.2:1")}}
	change(t, table, nft.Rules{}, more)
	change(t, table, more, nft.Rules{})
	if _, err := table.Reconcile(everything()); err != nil {
		t.Fatal(err)
	}
	quiet("our own changes")
	run(t, "add table ip other\nadd chain ip other mine\ndelete table ip other\n", "-f", "-")
	run(t, "add table ip machd\ndelete table ip machd\nadd table inet other\ndelete table inet other\n", "-f", "-")
	quiet("changes of other tables")

	for _, damage := range []string{"flush ruleset", "delete table inet machd", "delete table bridge machd", "flush chain inet machd guard", "delete element inet machd links { ve-x }"} {
		run(t, damage+"\n", "-f", "-")
		wait(damage)
		mended, err := table.Reconcile(everything())
		if err != nil || mended == nil {
			t.Errorf("%s: mended %q, %v", damage, mended, err)
		}
		quiet("mending after " + damage)
	}
	change(t, second, nft.Rules{}, nft.Rules{Routers: []netip.Addr{netip.MustParseAddr("fe80::2")}})
	wait("another daemon")
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Damage that comes while it is being mended is looked after when that is done,
// once for all of it.
func TestWatchIsNotCalledTwiceAtOnce(t *testing.T) {
	table := openTable(t)
	change(t, table, nft.Rules{}, everything())
	ctx, cancel := context.WithCancel(t.Context())
	called, goOn, ended := make(chan struct{}, 100), make(chan struct{}), make(chan error, 1)
	go func() { ended <- table.Watch(ctx, func() { called <- struct{}{}; <-goOn }) }()
	<-called
	const damages = 20
	for range damages / 2 {
		run(t, "add element inet machd uplinks4 { eth1 }\n", "-f", "-")
		run(t, "delete element inet machd uplinks4 { eth1 }\n", "-f", "-")
	}
	time.Sleep(late)
	if len(called) > 0 {
		t.Error("called while it goes on")
	}
	close(goOn)
	select {
	case <-called:
	case <-time.After(soon):
		t.Fatal("not called afterwards")
	}
	time.Sleep(never)
	// What arrives late may be told of again.
	if n := len(called); n > damages/4 {
		t.Errorf("called %d times more", n)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A machine of a zone, on a kernel without rules for bridges, does not keep others
// from having theirs.
func TestReconcileDoesWithoutBridges(t *testing.T) {
	table := openTable(t)
	table.LackBridges()
	mended, err := table.Reconcile(everything())
	if !errors.Is(err, nft.ErrNoBridge) || !slices.Contains(mended, "link ve-x") {
		t.Errorf("it has mended %q, %v", mended, err)
	}
	if got := ruleset(t); !strings.Contains(got, "ve-x") || strings.Contains(got, "table bridge") {
		t.Errorf("there is %s", got)
	}
}
