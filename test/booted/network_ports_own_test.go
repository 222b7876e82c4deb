package booted

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/machd/machd/pkg/bus"
	machd1 "github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/test/lan"
)

// A published port answers from everywhere, over both families and protocols,
// and the service sees who asks, as far as there is a way back to him.
func TestMachdPortAnswersEverywhere(t *testing.T) {
	t.Parallel()
	n := joinedNetwork(t)
	web := startDweller(t, "port-web", "-n", "-p", "8080:80", "-p", "8080:80/udp", "-p", "127.0.0.1:8081:80")
	other := startDweller(t, "port-other", "-n")
	web.serve(t, 80)
	for _, c := range []struct {
		what    string
		from    lan.Place
		address string
		seen    string // "" is the host's side of its link
	}{
		{"host, loopback", here, "127.0.0.1", ""},
		{"host, loopback", here, "::1", ""},
		{"host, another loopback", here, "127.1.2.3", ""},
		{"host, its address", here, lan.Host4, lan.Host4},
		{"host, its address", here, lan.Host6, lan.Host6},
		{"host, its other address", here, lan.HostWide4, lan.HostWide4},
		{"outside", n.Outside, lan.Host4, lan.Outside4},
		{"outside", n.Outside, lan.Host6, lan.Outside6},
		{"internet", n.Internet, lan.HostWide4, lan.Internet4},
		{"internet", n.Internet, lan.HostWide6, lan.Internet6},
		{"another machine", other.Place, lan.Host4, other.v4.String()},
		{"another machine", other.Place, lan.Host6, other.v6.String()},
		{"another machine, its gateway", other.Place, other.gate4.String(), other.v4.String()},
		{"another machine, its gateway", other.Place, other.gate6.String(), other.v6.String()},
		{"itself", web.Place, lan.Host4, ""},
		{"itself", web.Place, lan.Host6, ""},
		{"itself, its gateway", web.Place, web.gate4.String(), ""},
		{"itself, its gateway", web.Place, web.gate6.String(), ""},
	} {
		seen := web.gate4
		switch {
		case c.seen != "":
			seen = addr(c.seen)
		case strings.Contains(c.address, ":"):
			seen = web.gate6
		}
		for _, network := range []string{"tcp", "udp"} {
			t.Run(c.what+" "+network+" "+c.address, func(t *testing.T) {
				wantAnswer(t, c.from, network, at(c.address, 8080), web.name, seen)
			})
		}
	}
	t.Run("one address of the host's", func(t *testing.T) {
		wantAnswer(t, here, "tcp", "127.0.0.1:8081", web.name, web.gate4)
		wantRefusal(t, here, "[::1]:8081")
		wantRefusal(t, here, at(lan.Host4, 8081))
		wantRefusal(t, n.Outside, at(lan.Host4, 8081))
		wantRefusal(t, n.Outside, at(lan.Host6, 8081))
		wantRefusal(t, other.Place, at(other.gate4, 8081))
	})
	t.Run("what is not published", func(t *testing.T) {
		web.serve(t, 81)
		wantRefusal(t, n.Outside, at(lan.Host4, 81))
		// Nor does a route to the machine help.
		run(t, "ip", "-n", "outside", "route", "replace", web.v4.String()+"/32", "via", lan.Host4)
		run(t, "ip", "-n", "outside", "route", "replace", web.v6.String()+"/128", "via", lan.Host6)
		wantNobody(t, n.Outside, "tcp", at(web.v4, 81))
		wantNobody(t, n.Outside, "tcp", at(web.v6, 81))
		wantAnswer(t, here, "tcp", at(web.v4, 81), web.name, web.gate4)
	})
}

// The host leads nobody from one of its networks to another.
func TestMachdNetworkMakesNoRouterOfTheHost(t *testing.T) {
	n := joinedNetwork(t)
	d := startDweller(t, "no-router", "-n", "-p", "8090:80")
	d.wantNetwork(t)
	serveAt(t, n.Internet, "internet", 4030)
	run(t, "ip", "-n", "outside", "route", "replace", "default", "via", lan.Host4)
	run(t, "ip", "-n", "outside", "-6", "route", "replace", "default", "via", lan.Host6)
	t.Cleanup(func() {
		run(t, "ip", "-n", "outside", "route", "delete", "default")
		run(t, "ip", "-n", "outside", "-6", "route", "delete", "default")
	})
	run(t, "ip", "-n", "internet", "route", "replace", "192.0.2.0/24", "via", lan.HostWide4)
	run(t, "ip", "-n", "internet", "route", "replace", "2001:db8::/64", "via", lan.HostWide6)
	t.Cleanup(func() {
		run(t, "ip", "-n", "internet", "route", "delete", "192.0.2.0/24")
		run(t, "ip", "-n", "internet", "route", "delete", "2001:db8::/64")
	})
	for _, address := range []string{lan.Internet4, lan.Internet6} {
		wantNobody(t, n.Outside, "tcp", at(address, 4030))
	}
	d.serve(t, 80)
	wantAnswer(t, n.Outside, "tcp", at(lan.Host4, 8090), d.name, addr(lan.Outside4))
	wantAnswer(t, d.Place, "tcp", at(lan.Internet4, 4030), "internet", addr(lan.HostWide4))
}

// Ports come and go while a machine runs. One that goes takes its connections
// along.
func TestMachdPortsComeAndGo(t *testing.T) {
	t.Parallel()
	n := joinedNetwork(t)
	d := startDweller(t, "port-change", "-n")
	d.serve(t, 80)
	wantRefusal(t, here, "127.0.0.1:8100")
	run(t, "machctl", "port", "add", d.name, "8100:80", "8101:80")
	var conns []net.Conn
	for _, c := range []struct {
		from    lan.Place
		address string
	}{{here, "127.0.0.1:8100"}, {here, "[::1]:8100"}, {here, at(lan.Host4, 8100)}, {n.Outside, at(lan.Host4, 8100)}, {n.Outside, at(lan.Host6, 8100)}, {here, "127.0.0.1:8101"}} {
		conn, err := c.from.Dial("tcp", c.address)
		must(t, err)
		defer conn.Close()
		_, err = lan.Hear(conn)
		must(t, err)
		must(t, lan.Echoes(conn))
		conns = append(conns, conn)
	}
	run(t, "machctl", "port", "remove", d.name, "8100:80")
	removed := time.Now()
	for i, conn := range conns[:5] {
		if err := lan.Echoes(conn); err == nil {
			t.Errorf("connection %d from %s goes on", i, conn.LocalAddr())
		}
	}
	if err := lan.Echoes(conns[5]); err != nil {
		t.Errorf("another port's connection does not go on: %v", err)
	}
	wantRefusal(t, here, "127.0.0.1:8100")
	wantRefusal(t, n.Outside, at(lan.Host4, 8100))
	if took := time.Since(removed); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
	wantAnswer(t, n.Outside, "tcp", at(lan.Host6, 8101), d.name, addr(lan.Outside6))
	for _, argv := range [][]string{{"remove", d.name, "8100:80"}, {"remove", d.name, "8102"}} {
		if out := observe(t, append([]string{"machctl", "port"}, argv...)...); out.Code == 0 || !strings.Contains(out.Stderr, "810") {
			t.Errorf("%q: %+v", argv, out)
		}
	}
}

// What is published is listed, with what went through and whether somebody
// listens there.
func TestMachdPortsAreListed(t *testing.T) {
	t.Parallel()
	n := joinedNetwork(t)
	d := startDweller(t, "port-list", "-n", "-p", "8110:80", "-p", "127.0.0.1:8111:81/udp")
	row := func(port string) []string {
		t.Helper()
		for line := range strings.Lines(run(t, "machctl", "port", "list", "--no-legend", d.name)) {
			if words := strings.Fields(line); slices.ContainsFunc(words, func(w string) bool { return strings.Contains(w, port) }) {
				return words
			}
		}
		t.Fatalf("there is no %s in\n%s", port, run(t, "machctl", "port", "list", d.name))
		return nil
	}
	ports := func() map[uint16][3]any {
		t.Helper()
		var rows []machd1.PortStatus
		must(t, bus.Call(t.Context(), dial(t), manager, machd1.ManagerInterface+".ListPorts", false, []any{d.name}, &rows))
		told := map[uint16][3]any{}
		for _, r := range rows {
			told[r.Host] = [3]any{r.Packets, r.Bytes, r.Answers}
		}
		return told
	}
	before := ports()
	if want := [3]any{uint64(0), uint64(0), false}; len(before) != 2 || before[8110] != want || before[8111] != want {
		t.Errorf("at first there is %v", before)
	}
	row("8110")
	row("8111")
	d.serve(t, 80)
	conn, err := n.Outside.Dial("tcp", at(lan.Host4, 8110))
	must(t, err)
	defer conn.Close()
	_, err = lan.Hear(conn)
	must(t, err)
	after := ports()[8110]
	if packets := after[0].(uint64); packets < 4 || packets > 8 || after[1].(uint64) < packets*40 || after[2] != true {
		t.Errorf("after one connection there are %v packets and bytes, and it answers: %v", after[:2], after[2])
	}
	if got := ports()[8111]; got != before[8111] {
		t.Errorf("the other has %v", got)
	}
}

// A port that is taken is refused at once, with the name of who has it, and
// nothing is started.
func TestMachdPortIsTaken(t *testing.T) {
	t.Parallel()
	joinedNetwork(t)
	holder := startDweller(t, "port-holder", "-n", "-p", "8120:80", "-p", "192.0.2.1:8121:80")
	comm := strings.TrimSpace(readFile(t, "/proc/self/comm"))
	for _, address := range []string{"127.0.0.1:8122", "[::]:8123"} {
		listener, err := net.Listen("tcp", address)
		must(t, err)
		defer listener.Close()
	}
	d := startDweller(t, "port-late", "-n")
	for _, c := range []struct{ port, holder string }{
		{"8120:80", holder.name},
		{"192.0.2.1:8121:81", holder.name},
		{"8122:80", comm},
		{"8118-8124:80-86", ""},
		{"8123", comm},
		{"[::1]:8123:80", comm},
	} {
		const name = "port-never"
		for _, argv := range [][]string{dwellerCommand(name, "-n", "-p", c.port), {"machctl", "port", "add", d.name, c.port}} {
			out := observe(t, argv...)
			if out.Code == 0 || !strings.Contains(out.Stderr, c.holder) || !strings.Contains(out.Stderr, "812") {
				t.Errorf("%q: exit status %d, and it does not name %q:\n%s", argv, out.Code, c.holder, out.Stderr)
			}
		}
		wantNoRemains(t, dweller{name: name, link: "ve-" + name})
	}
	// One address of the host's, and another protocol, are something else.
	run(t, "machctl", "port", "add", d.name, "127.0.0.1:8121:80", "8120:80/udp", "192.0.2.1:8122:80", "127.0.0.1:8120:80")
	holder.serve(t, 80)
	wantAnswer(t, here, "tcp", "[::1]:8120", holder.name, nobody)
	wantAnswer(t, here, "tcp", at(lan.Host4, 8121), holder.name, nobody)
	d.serve(t, 80)
	wantAnswer(t, here, "udp", "127.0.0.1:8120", d.name, nobody)
	wantAnswer(t, here, "tcp", "127.0.0.1:8121", d.name, nobody)
	wantAnswer(t, here, "tcp", "127.0.0.1:8120", d.name, nobody)
	// What was refused has left no port of the range.
	wantRefusal(t, here, "127.0.0.1:8118")
	// What becomes free can be had.
	run(t, "machctl", "stop", "--timeout=1", holder.name)
	eventually(t, "it is free", func() error {
		if out := observe(t, "machctl", "port", "add", d.name, "8120:80"); out.Code != 0 {
			return fmt.Errorf("%s", out.Stderr)
		}
		return nil
	})
	wantAnswer(t, here, "tcp", "[::1]:8120", d.name, nobody)
}

// Services of the host's are offered to the machines that are meant, those too
// that listen on the loopback only.
func TestMachdHostServicesAreExposed(t *testing.T) {
	t.Parallel()
	joinedNetwork(t)
	for name, address := range map[string]string{"looped": "127.0.0.1:8130", "everywhere": ":8131", "hidden": "127.0.0.1:8133"} {
		server, err := here.ServeAt(name, address)
		must(t, err)
		t.Cleanup(server.Close)
	}
	d := startDweller(t, "exposed", "-n", "--expose-host=8130", "--expose-host=5432:8131", "--expose-host=8130/udp")
	stranger := startDweller(t, "exposed-not", "-n")
	wantAnswer(t, d.Place, "tcp", at(d.gate4, 8130), "looped", nobody)
	wantAnswer(t, d.Place, "udp", at(d.gate4, 8130), "looped", nobody)
	wantAnswer(t, d.Place, "tcp", at(d.gate4, 5432), "everywhere", nobody)
	wantAnswer(t, d.Place, "tcp", at(d.gate6, 5432), "everywhere", nobody)
	wantNobody(t, d.Place, "tcp", at(d.gate4, 8133))
	wantNobody(t, stranger.Place, "tcp", at(stranger.gate4, 8130))
	wantNobody(t, stranger.Place, "tcp", at(d.gate4, 8130))
	wantNobody(t, stranger.Place, "tcp", at(stranger.gate4, 5432))
}

// Port= of settings and [X-Machd] Publish= give the same.
func TestMachdPortsOfSettings(t *testing.T) {
	t.Parallel()
	n := joinedNetwork(t)
	const name = "port-settings"
	installGuest(t, name)
	must(t, os.WriteFile(settings+"/"+name+".nspawn",
		[]byte("[Exec]\nNotifyReady=yes\n[Network]\nVirtualEthernet=yes\nPort=tcp:8140:80\n[X-Machd]\nPublish=8141:80\n"), 0o644))
	run(t, "machctl", "start", name)
	d := findDweller(t, name)
	d.serve(t, 80)
	for _, port := range []int{8140, 8141} {
		wantAnswer(t, here, "tcp", at("127.0.0.1", port), name, d.gate4)
		wantAnswer(t, here, "tcp", at("::1", port), name, d.gate6)
		wantAnswer(t, n.Outside, "tcp", at(lan.Host6, port), name, addr(lan.Outside6))
	}
	run(t, "machctl", "stop", name)
	wantRefusal(t, here, "127.0.0.1:8140")
}
