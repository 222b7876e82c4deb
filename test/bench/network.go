package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/test/lan"
)

const (
	networked = "bench-net"
	// webPort of the host leads to port 80 of the machine.
	webPort = 8080
	// stream is how long each measurement of throughput takes.
	stream = time.Second
	// connections are how many each measurement of latency makes.
	connections = 200
)

// measureNetwork prints what it costs to give a machine a network and ports, and
// what goes through these.
func measureNetwork(rounds int) error {
	if err := swapTo(ours); err != nil {
		return err
	}
	outside, err := lan.Join()
	if err != nil {
		return err
	}
	if err := measureNetworkStarts(rounds * 4); err != nil {
		return err
	}
	if err := startNetworked("-p", strconv.Itoa(webPort)+":80"); err != nil {
		return err
	}
	defer stopNetworked()
	// Before there are connections, which have to be looked through for a port's.
	if err := measurePorts(); err != nil {
		return err
	}
	if err := measureWays(outside, rounds); err != nil {
		return err
	}
	// The server has ended, or the machine's link would outlive it.
	if err := measureNspawnPort(outside, rounds); err != nil {
		return err
	}
	return measureOthers(outside, rounds)
}

func startNetworked(options ...string) error {
	argv := append([]string{"machctl", "start", networked, "--image=tiny", "--overlay", "--no-boot", "--wait=registered"}, options...)
	return command(append(argv, "--", "sleep", "infinity")...)
}

func stopNetworked() error {
	return command("machctl", "stop", "--timeout=1", networked)
}

// measureNetworkStarts compares starts of a machine whose link is set up with
// those of one that has the link only.
func measureNetworkStarts(rounds int) error {
	const settings = "/run/systemd/nspawn/" + networked + ".nspawn"
	if err := os.MkdirAll(filepath.Dir(settings), 0o755); err != nil {
		return err
	}
	defer os.Remove(settings)
	took := map[string][]time.Duration{}
	for range rounds {
		for _, manage := range []string{"no", "yes"} {
			if err := os.WriteFile(settings, []byte("[X-Machd]\nNetwork="+manage+"\n"), 0o644); err != nil {
				return err
			}
			begin := time.Now()
			if err := startNetworked(); err != nil {
				return err
			}
			took[manage] = append(took[manage], time.Since(begin))
			if err := stopNetworked(); err != nil {
				return err
			}
		}
	}
	without, with := middle(took["no"]), middle(took["yes"])
	fmt.Printf("\nstart of a machine, ms, median of %d: link only %.1f, with its network %.1f: %.1f more\n",
		rounds, ms(without), ms(with), ms(with-without))
	return nil
}

func middle(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }

// A route leads from somewhere to the machine's port 80.
type route struct {
	name    string
	from    lan.Place
	address string
}

// measureWays prints throughput and latency of connections by each way.
func measureWays(n lan.Network, rounds int) error {
	machine, addresses, err := findNetworked()
	if err != nil {
		return err
	}
	sink, err := machine.Listen("tcp", ":80")
	if err != nil {
		return err
	}
	defer sink.Close()
	go swallow(sink)

	port := strconv.Itoa(webPort)
	fmt.Printf("\nconnections to a machine, median of %d (from to)\n\n%-34s  %26s  %24s\n", rounds, "", "Gbit/s", "connect, µs")
	for _, w := range []route{
		{"host, direct, IPv4", lan.Place{}, net.JoinHostPort(addresses[0], "80")},
		{"host, direct, IPv6", lan.Place{}, net.JoinHostPort(addresses[1], "80")},
		{"host, 127.0.0.1, published", lan.Place{}, "127.0.0.1:" + port},
		{"host, ::1, published", lan.Place{}, "[::1]:" + port},
		{"host, its own address, published", lan.Place{}, lan.Host4 + ":" + port},
		{"outside, IPv4, published", n.Outside, lan.Host4 + ":" + port},
		{"outside, IPv6, published", n.Outside, net.JoinHostPort(lan.Host6, port)},
	} {
		if err := w.measure(rounds); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	return measureWithoutRules(n, addresses[0], rounds)
}

// findPlace returns where the machine is.
func findPlace() (lan.Place, error) {
	leader, err := exec.Command("machctl", "show", "-P", "Leader", networked).Output()
	if err != nil {
		return lan.Place{}, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(leader)))
	return lan.Of(pid), err
}

// findNetworked returns the machine and its IPv4 and IPv6 address.
func findNetworked() (lan.Place, []string, error) {
	machine, err := findPlace()
	if err != nil {
		return lan.Place{}, nil, err
	}
	text, err := machine.Command(context.Background(), "hostname", "--all-ip-addresses").Output()
	addresses := strings.Fields(string(text))
	if err == nil && len(addresses) < 2 {
		err = fmt.Errorf("the machine has the addresses %q", addresses)
	}
	return machine, addresses, err
}

// measureWithoutRules goes from outside to the machine's own address, with no
// rule of anybody's in between. The daemon is held meanwhile, as it would put
// them back.
func measureWithoutRules(n lan.Network, address string, rounds int) error {
	if err := command("systemctl", "kill", "--signal=STOP", theService); err != nil {
		return err
	}
	defer command("systemctl", "kill", "--signal=CONT", theService)
	if err := command("nft", "delete", "table", "inet", "machd"); err != nil {
		return err
	}
	if err := n.Outside.Command(context.Background(), "ip", "route", "add", address+"/32", "via", lan.Host4).Run(); err != nil {
		return err
	}
	return route{"outside, IPv4, direct, no rules", n.Outside, net.JoinHostPort(address, "80")}.measure(rounds)
}

// measure prints a line about the way.
func (w route) measure(rounds int) error {
	var speeds, latencies []float64
	for range rounds {
		speed, err := gigabitsPerSecond(w)
		if err != nil {
			return err
		}
		latency, err := connectTime(w)
		if err != nil {
			return err
		}
		speeds, latencies = append(speeds, speed), append(latencies, latency)
	}
	slices.Sort(speeds)
	slices.Sort(latencies)
	last := rounds - 1
	fmt.Printf("%-34s  %10.1f (%5.1f to %5.1f)  %8.0f (%4.0f to %4.0f)\n", w.name,
		speeds[rounds/2], speeds[0], speeds[last], latencies[rounds/2], latencies[0], latencies[last])
	return nil
}

// swallow reads what comes, and says when it has seen a connection.
func swallow(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			conn.Write([]byte{1})
			io.Copy(struct{ io.Writer }{io.Discard}, conn)
		}()
	}
}

// reach connects, and has the other end say something: there are programs that
// keep a port and never accept.
func (w route) reach() (net.Conn, error) {
	conn, err := w.from.Dial("tcp", w.address)
	if err != nil {
		return nil, err
	}
	err = conn.SetDeadline(time.Now().Add(2 * stream))
	if err == nil {
		_, err = io.ReadFull(conn, make([]byte, 1))
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// gigabitsPerSecond is what one connection sends.
func gigabitsPerSecond(w route) (float64, error) {
	conn, err := w.reach()
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	chunk := make([]byte, 256<<10)
	sent, begin := 0, time.Now()
	for time.Since(begin) < stream {
		n, err := conn.Write(chunk)
		if err != nil {
			return 0, err
		}
		sent += n
	}
	return float64(sent) * 8 / 1e9 / time.Since(begin).Seconds(), nil
}

// connectTime is how long it takes until the other end has said something, µs.
func connectTime(w route) (float64, error) {
	var times []time.Duration
	for range connections {
		begin := time.Now()
		conn, err := w.reach()
		if err != nil {
			return 0, err
		}
		times = append(times, time.Since(begin))
		if err := conn.Close(); err != nil {
			return 0, err
		}
	}
	return float64(middle(times).Nanoseconds()) / 1000, nil
}

// measurePorts prints what it takes to add and remove one port, while a machine
// has few and many others.
func measurePorts() error {
	ctx := context.Background()
	conn, err := bus.Dial(ctx, bus.SystemAddress())
	if err != nil {
		return err
	}
	defer conn.Close()
	call := func(member string, ports ...string) error {
		return bus.Call(ctx, conn, bus.Target{Name: machine1.BusName, Path: machine1.ObjectPath}, machd.ManagerInterface+"."+member, false,
			[]any{networked, ports, map[string]dbus.Variant{}})
	}
	fmt.Printf("\none port added and removed over the bus, ms\n\n")
	have := 0
	for _, step := range [][]string{{"20000-20009"}, {
		"20010-20999", "21000-21999", "22000-22999", "23000-23999", "24000-24999", "25000-25999", "26000-26999", "27000-27999", "28000-28999", "29000-29999",
	}} {
		for _, ports := range step {
			if err := call("AddPorts", ports); err != nil {
				return err
			}
			first, last, _ := strings.Cut(ports, "-")
			a, _ := strconv.Atoi(first)
			b, _ := strconv.Atoi(last)
			have += b - a + 1
		}
		var times []time.Duration
		for range 50 {
			begin := time.Now()
			if err := call("AddPorts", "8090:80"); err != nil {
				return err
			}
			if err := call("RemovePorts", "8090:80"); err != nil {
				return err
			}
			times = append(times, time.Since(begin))
		}
		fmt.Printf("%6d others  median %.2f  (%.2f to %.2f)\n", have, ms(middle(times)), ms(times[0]), ms(times[len(times)-1]))
	}
	return nil
}
