package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/test/lan"
	"github.com/machd/machd/test/live"
)

var (
	run        = live.Run
	observe    = live.Observe
	must       = live.Must
	eventually = live.Eventually
)

var joined = sync.OnceValues(lan.Join)

func joinedNetwork(t *testing.T) lan.Network {
	t.Helper()
	n, err := joined()
	must(t, err)
	return n
}

var here lan.Place

// A web is a machine with a server at port 80, which port 8080 of the host leads
// to.
type web struct {
	lan.Place
	name   string
	leader int
	v4, v6 netip.Addr
	gate4  netip.Addr
}

const port = 8080

func startWeb(t *testing.T, name string) web {
	t.Helper()
	t.Cleanup(func() {
		observe(t, "machctl", "stop", "--if-running", "--timeout=1", name)
	})
	run(t, "machctl", "start", name, "--image=tiny", "--overlay", "--no-boot", "-n", "-p", strconv.Itoa(port)+":80", "--", "sleep", "infinity")
	w := find(t, name)
	server, err := w.Serve(name, 80)
	must(t, err)
	t.Cleanup(server.Close)
	return w
}

// find looks at the network of a machine.
func find(t *testing.T, name string) web {
	t.Helper()
	leader, err := strconv.Atoi(run(t, "machctl", "show", "-P", "Leader", name))
	must(t, err)
	w := web{Place: lan.Of(leader), name: name, leader: leader}
	var links []struct {
		Addresses []struct {
			Local netip.Addr `json:"local"`
		} `json:"addr_info"`
	}
	asks(t, w.Place, &links, "address", "show", "dev", "host0")
	for _, l := range links {
		for _, a := range l.Addresses {
			switch {
			case !a.Local.IsValid() || a.Local.IsLinkLocalUnicast():
			case a.Local.Is4():
				w.v4 = a.Local
			default:
				w.v6 = a.Local
			}
		}
	}
	var routes []struct {
		Gateway netip.Addr `json:"gateway"`
	}
	asks(t, w.Place, &routes, "-4", "route", "show", "default")
	if len(routes) > 0 {
		w.gate4 = routes[0].Gateway
	}
	return w
}

func asks(t *testing.T, place lan.Place, into any, args ...string) {
	t.Helper()
	out, err := place.Command(t.Context(), append([]string{"ip", "-j"}, args...)...).Output()
	must(t, err)
	if len(out) > 0 {
		must(t, json.Unmarshal(out, into))
	}
}

func at(addr string, port int) string { return net.JoinHostPort(addr, strconv.Itoa(port)) }

// A way is one that packets take between a machine and others.
type way struct {
	what    string
	from    lan.Place
	address string
	who     string
}

// ways are all that have to be open, apart from how those outside come in.
func ways(n lan.Network, w web) (local, inward, outward []way) {
	for _, address := range []string{"127.0.0.1", "::1", lan.Host4, lan.Host6} {
		local = append(local, way{"host to " + address, here, at(address, port), w.name})
	}
	for _, address := range []string{lan.Host4, lan.Host6} {
		inward = append(inward, way{"outside to " + address, n.Outside, at(address, port), w.name})
	}
	for _, address := range []string{lan.Internet4, lan.Internet6} {
		outward = append(outward, way{"machine to " + address, w.Place, at(address, 4000), "internet"})
	}
	return local, inward, outward
}

func open(ways []way) error {
	var failed []error
	for _, w := range ways {
		got, err := w.from.Ask("tcp", w.address)
		if err != nil || got.Name != w.who {
			failed = append(failed, fmt.Errorf("%s: %q, %w", w.what, got.Name, err))
		}
	}
	return errors.Join(failed...)
}

func wantOpen(t *testing.T, ways []way) {
	t.Helper()
	eventually(t, "all ways are open", func() error { return open(ways) })
}

// others returns the rules of everybody but machd.
func others(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for line := range strings.Lines(run(t, "nft", "--stateless", "list", "tables")) {
		words := strings.Fields(line) // table inet machd
		if len(words) == 3 && words[2] != "machd" {
			all.WriteString(run(t, "nft", "--stateless", "list", "table", words[1], words[2]) + "\n")
		}
	}
	return all.String()
}

func wantUntouched(t *testing.T, before string) {
	t.Helper()
	if diff := cmp.Diff(before, others(t)); diff != "" {
		t.Errorf("rules of others (-before +after):\n%s", diff)
	}
}

// internet has a server where the default routes lead.
func internet(t *testing.T, n lan.Network) {
	t.Helper()
	server, err := n.Internet.Serve("internet", 4000)
	must(t, err)
	t.Cleanup(server.Close)
}
