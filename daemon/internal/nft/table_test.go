package nft_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/nft"
)

// everything has a bit of all that there is.
func everything() nft.Rules {
	x := link("ve-x", "10.213.1.2/32", "fd00:1::2/128")
	x.Given = []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24"), netip.MustParsePrefix("10.0.2.2/32"), netip.MustParsePrefix("fd05::/64")}
	return nft.Rules{
		Links: []nft.Link{x, link("vz-y", "10.214.1.0/24", "fd00:2::/64")},
		Members: []nft.Member{{
			Name: "vb-z", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1},
			Sources: []netip.Addr{netip.MustParseAddr("10.214.1.2"), netip.MustParseAddr("fd00:2::2")},
		}},
		Ports: []nft.Port{
			port(unix.IPPROTO_TCP, "", 8080, "10.213.1.2:80"),
			port(unix.IPPROTO_TCP, "", 8080, "[fd00:1::2]:80"),
			port(unix.IPPROTO_UDP, "127.0.0.1", 53, "10.214.1.2:53"),
			port(unix.IPPROTO_UDP, "::1", 53, "[fd00:2::2]:53"),
		},
		Inward: []nft.Inward{
			inward("ve-x", unix.IPPROTO_TCP, "10.213.1.1:3306", "127.0.0.1:3306"),
			inward("ve-x", unix.IPPROTO_TCP, "[fd00:1::1]:3306", "[::1]:3306"),
		},
		Uplinks: []nft.Uplink{{Name: "eth0"}, {Name: "eth1", IPv6: true}},
		Routers: []netip.Addr{netip.MustParseAddr("fe80::1")},
	}
}

// ruleset is all that nft tells, without what rules have counted.
func ruleset(t *testing.T) string {
	t.Helper()
	return run(t, "", "-s", "list", "ruleset")
}

func change(t *testing.T, table *nft.Table, remove, add nft.Rules) {
	t.Helper()
	if err := table.Change(remove, add); err != nil {
		t.Fatal(err)
	}
}

func TestChangeAndBack(t *testing.T) {
	table := openTable(t)
	change(t, table, nft.Rules{}, nft.Rules{Links: []nft.Link{link("ve-w", "10.213.9.2/32")}, Members: []nft.Member{{Name: "vb-w", MAC: net.HardwareAddr{2, 0, 0, 0, 0, 9}}}})
	before := ruleset(t)
	change(t, table, nft.Rules{}, everything())
	if ruleset(t) == before {
		t.Fatal("nothing was added")
	}
	change(t, table, everything(), nft.Rules{})
	if diff := cmp.Diff(before, ruleset(t)); diff != "" {
		t.Errorf("something stays (-before +after):\n%s", diff)
	}
}

// What a change expects need not be so.
func TestChangeOfWhatIsOtherwise(t *testing.T) {
	a := port(unix.IPPROTO_TCP, "", 8080, "10.213.1.2:80")
	b := port(unix.IPPROTO_TCP, "", 8080, "10.213.2.2:80")
	other := port(unix.IPPROTO_TCP, "", 8081, "10.213.1.2:81")
	for _, tt := range []struct {
		name             string
		had, remove, add []nft.Port
		want             []string
	}{
		{"add what is there", []nft.Port{a}, nil, []nft.Port{a}, []string{"tcp . 8080 : 10.213.1.2 . 80"}},
		{"add what is there with something else", []nft.Port{a}, nil, []nft.Port{b}, []string{"tcp . 8080 : 10.213.2.2 . 80"}},
		{"remove what is not there", []nft.Port{a}, []nft.Port{other}, nil, []string{"tcp . 8080 : 10.213.1.2 . 80"}},
		{"remove one of two that is there", []nft.Port{a}, []nft.Port{other, a}, nil, nil},
		{"add one, remove what is not there", []nft.Port{a}, []nft.Port{b}, []nft.Port{other}, []string{"tcp . 8081 : 10.213.1.2 . 81"}},
		{"move", []nft.Port{a}, []nft.Port{a}, []nft.Port{b}, []string{"tcp . 8080 : 10.213.2.2 . 80"}},
		{"nothing", []nft.Port{a}, nil, nil, []string{"tcp . 8080 : 10.213.1.2 . 80"}},
		{"remove from nothing", nil, []nft.Port{a}, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			table := openTable(t)
			change(t, table, nft.Rules{}, nft.Rules{Ports: tt.had})
			change(t, table, nft.Rules{Ports: tt.remove}, nft.Rules{Ports: tt.add})
			if diff := cmp.Diff(tt.want, elementsOf(t, "map", "ports4")); diff != "" {
				t.Errorf("ports (-want +got):\n%s", diff)
			}
			var keys []string
			for _, p := range tt.want {
				key, _, _ := strings.Cut(p, " : ")
				keys = append(keys, key)
			}
			if diff := cmp.Diff(keys, elementsOf(t, "set", "traffic4")); diff != "" {
				t.Errorf("counters (-want +got):\n%s", diff)
			}
		})
	}
}

// elementsOf lists those of a set, if there is one.
func elementsOf(t *testing.T, kind, set string) (list []string) {
	t.Helper()
	if !strings.Contains(run(t, "", "list", "tables"), "inet machd") {
		return nil
	}
	_, text, _ := strings.Cut(run(t, "", "-s", "list", kind, "inet", "machd", set), "elements = {")
	text, _, _ = strings.Cut(text, "}")
	for _, one := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == '\n' }) {
		if one = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(one), "counter")); one != "" {
			list = append(list, one)
		}
	}
	slices.Sort(list)
	return list
}

// A table that somebody took away is there again with what is added next.
func TestChangeOfATableThatIsGone(t *testing.T) {
	for _, damage := range []string{"flush ruleset", "delete table inet machd", "flush table inet machd", "delete chain inet machd through"} {
		t.Run(damage, func(t *testing.T) {
			table := openTable(t)
			change(t, table, nft.Rules{}, everything())
			run(t, "", strings.Fields(damage)...)
			p := nft.Rules{Ports: []nft.Port{port(unix.IPPROTO_TCP, "", 9090, "10.213.1.2:90")}}
			change(t, table, nft.Rules{Ports: []nft.Port{port(unix.IPPROTO_TCP, "", 9091, "10.213.1.2:91")}}, p)
			if got := elementsOf(t, "map", "ports4"); !slices.Contains(got, "tcp . 9090 : 10.213.1.2 . 90") {
				t.Errorf("there is %q", got)
			}
			if got := run(t, "", "list", "table", "inet", "machd"); strings.Count(got, "masquerade") != 9 || !strings.Contains(got, "hook forward") {
				t.Errorf("the rules are not there:\n%s", got)
			}
		})
	}
}

func TestWrongRulesAreRefused(t *testing.T) {
	table := openTable(t)
	long := strings.Repeat("x", 16)
	for _, tt := range []struct {
		rules nft.Rules
		want  string
	}{
		{nft.Rules{Links: []nft.Link{{Name: long}}}, `"xxxxxxxxxxxxxxxx" is no name of a link`},
		{nft.Rules{Links: []nft.Link{{Name: `a"b`}}}, `"a\"b" is no name of a link`},
		{nft.Rules{Uplinks: []nft.Uplink{{}}}, `"" is no name of a link`},
		{nft.Rules{Links: []nft.Link{{Name: "x", Sources: []netip.Prefix{{}}}}}, "x: invalid Prefix is no network"},
		{nft.Rules{Members: []nft.Member{{Name: "x"}}}, `x: "" is no MAC of Ethernet`},
		{nft.Rules{Routers: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}, "10.0.0.1 is no IPv6 address of a router"},
		{nft.Rules{Ports: []nft.Port{port(132, "", 80, "10.0.0.1:80")}}, "port 80/132 of IPv4: only TCP and UDP have ports"},
		{nft.Rules{Ports: []nft.Port{port(unix.IPPROTO_TCP, "", 0, "10.0.0.1:80")}}, "port 0/tcp of IPv4 to 10.0.0.1:80: there is no port 0"},
		{nft.Rules{Ports: []nft.Port{port(unix.IPPROTO_TCP, "::1", 80, "10.0.0.1:80")}}, "port 80/tcp of ::1 cannot lead to 10.0.0.1:80: IPv4 and IPv6 are not translated"},
		{nft.Rules{Ports: []nft.Port{port(unix.IPPROTO_TCP, "", 80, "[::ffff:10.0.0.1]:80")}}, "port 80/tcp of IPv6 to [::ffff:10.0.0.1]:80: an IPv4 address must not be written as an IPv6 one"},
		{nft.Rules{Inward: []nft.Inward{inward("x", unix.IPPROTO_TCP, "0.0.0.0:80", "127.0.0.1:80")}}, "inward port 80/tcp of x at 0.0.0.0 needs an address of the host"},
		{
			nft.Rules{Ports: []nft.Port{port(unix.IPPROTO_TCP, "", 80, "10.0.0.1:80"), port(unix.IPPROTO_TCP, "", 80, "10.0.0.2:80")}},
			"port 80/tcp of IPv4 is given twice, for different things",
		},
	} {
		err := table.Change(nft.Rules{}, tt.rules)
		if err == nil || err.Error() != tt.want {
			t.Errorf("got %v\nwant %s", err, tt.want)
		}
		if _, err := table.Reconcile(tt.rules); err == nil {
			t.Errorf("Reconcile takes what Change refuses: %s", tt.want)
		}
	}
	if got := ruleset(t); got != "" {
		t.Errorf("something was made:\n%s", got)
	}
}

// A program without the right to says so.
func TestOpenWithoutPermission(t *testing.T) {
	if os.Getenv("MACHD_TEST_UNPRIVILEGED") != "" {
		if _, err := nft.Open(nil); !errors.Is(err, nft.ErrNotPermitted) {
			t.Errorf("got %v, want %v", err, nft.ErrNotPermitted)
		}
		return
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestOpenWithoutPermission$")
	cmd.Env = append(os.Environ(), "MACHD_TEST_UNPRIVILEGED=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// Two that open the tables at the same time, and a second one that comes later,
// do not disturb what is there.
func TestOpenAgain(t *testing.T) {
	first := openTable(t)
	change(t, first, nft.Rules{}, everything())
	before := ruleset(t)
	second := openTable(t)
	if diff := cmp.Diff(before, ruleset(t)); diff != "" {
		t.Errorf("opening changes something (-before +after):\n%s", diff)
	}
	if mended, err := second.Reconcile(everything()); err != nil || mended != nil {
		t.Errorf("mended %q, %v", mended, err)
	}
	change(t, second, everything(), nft.Rules{})
	if mended, err := second.Reconcile(nft.Rules{}); err != nil || len(mended) != 2 {
		t.Errorf("mended %q, %v; want both tables removed", mended, err)
	}
	if got := ruleset(t); got != "" {
		t.Errorf("there is still:\n%s", got)
	}
}

func TestRemove(t *testing.T) {
	table := openTable(t)
	for range 2 {
		if err := table.Remove(); err != nil {
			t.Fatal(err)
		}
		change(t, table, nft.Rules{}, everything())
	}
	if err := table.Remove(); err != nil {
		t.Fatal(err)
	}
	if got := ruleset(t); got != "" {
		t.Errorf("there is still:\n%s", got)
	}
}

// Changes at the same time are made one after the other.
func TestChangesAtOnce(t *testing.T) {
	table := openTable(t)
	done := make(chan error)
	const many = 20
	for i := range many {
		go func() {
			mine := nft.Rules{
				Links: []nft.Link{link(fmt.Sprintf("ve-%d", i), fmt.Sprintf("10.213.%d.2/32", i))},
				Ports: []nft.Port{port(unix.IPPROTO_TCP, "", uint16(1000+i), fmt.Sprintf("10.213.%d.2:80", i))},
			}
			err := table.Change(nft.Rules{}, mine)
			if i%2 == 0 && err == nil {
				err = table.Change(mine, nft.Rules{})
			}
			done <- err
		}()
	}
	for range many {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if got := len(elementsOf(t, "map", "ports4")); got != many/2 {
		t.Errorf("%d ports are there, want %d", got, many/2)
	}
}
