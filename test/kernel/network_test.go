package kernel

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/test/lan"
	"github.com/machd/machd/test/live"
)

const theService = "machd.service"

// start starts a machine with a link, and returns where it is. It ends with the
// test.
func start(t *testing.T, name string, options ...string) lan.Place {
	t.Helper()
	t.Cleanup(func() { live.Observe(t, "machctl", "terminate", name) })
	live.Run(t, startCommand(name, options...)...)
	leader, err := strconv.Atoi(live.Run(t, "machctl", "show", "-P", "Leader", name))
	live.Must(t, err)
	return lan.Of(leader)
}

func startCommand(name string, options ...string) []string {
	argv := append([]string{"machctl", "start", name, "--image=tiny", "--overlay", "--no-boot", "-n"}, options...)
	return append(argv, "--", "/bin/sleep", "infinity")
}

// addresses are those of the machine's link, in each family.
func addresses(t *testing.T, at lan.Place, family string) string {
	t.Helper()
	out, err := at.Command(t.Context(), "ip", family, "-o", "address", "show", "dev", "host0", "scope", "global").Output()
	live.Must(t, err)
	return string(out)
}

// wantAnswer waits until whoever is called name answers at the address. One answer
// may come too late here, where the processor is emulated.
func wantAnswer(t *testing.T, from lan.Place, address, name string) {
	t.Helper()
	live.Eventually(t, name+" answers at "+address, func() error {
		if got, err := from.Ask("tcp", address); err != nil || got.Name != name {
			return fmt.Errorf("there answers %+v, %v", got, err)
		}
		return nil
	})
}

// A kernel that knows no IPv6 at all has networks of IPv4.
func TestMachdNetworkOfAKernelWithoutIPv6(t *testing.T) {
	if _, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM, 0); !errors.Is(err, unix.EAFNOSUPPORT) {
		t.Fatal("this kernel has IPv6:", err)
	}
	const name = "only4"
	tables := live.Run(t, "nft", "list", "tables")
	at := start(t, name, "-p", "8080:80", "--expose-host", "90:9090")
	if got := addresses(t, at, "-4"); !strings.Contains(got, "inet 10.") {
		t.Errorf("its addresses are %q", got)
	}
	server, err := at.ServeAt(name, "0.0.0.0:80")
	live.Must(t, err)
	defer server.Close()
	service, err := lan.Place{}.ServeAt("host", "127.0.0.1:9090")
	live.Must(t, err)
	defer service.Close()
	wantAnswer(t, lan.Place{}, "127.0.0.1:8080", name)
	gateway, err := at.Command(t.Context(), "sh", "-c", "ip -4 route show default | cut -d' ' -f3").Output()
	live.Must(t, err)
	wantAnswer(t, at, strings.TrimSpace(string(gateway))+":90", "host")
	o := live.Observe(t, "machctl", "doctor", name)
	for line := range strings.Lines(o.Stdout) {
		// It has no way to elsewhere, nor to a name server.
		if strings.Contains(line, "IPv6") || strings.Contains(line, "error ") && !strings.Contains(line, "way-out") && !strings.Contains(line, "dns") {
			t.Errorf("the doctor says %s", line)
		}
	}
	server.Close()
	live.Run(t, "machctl", "stop", "--timeout=1", name)
	live.Eventually(t, "nothing is left", func() error {
		if left := live.Run(t, "nft", "list", "tables"); left != tables {
			return fmt.Errorf("there are the tables %q, and were %q", left, tables)
		}
		return nil
	})
}

// A kernel that lacks a part of nftables leads no ports anywhere, and says so. A
// machine and the host reach each other all the same.
func TestMachdNetworkWithoutAModule(t *testing.T) {
	const name, module, blocked = "unruled", "nft_masq", "/run/modprobe.d/blocked.conf"
	restart := func() { live.Run(t, "systemctl", "restart", theService) }
	live.Run(t, "systemctl", "stop", theService)
	live.Run(t, "sh", "-ec", "mkdir -p /run/modprobe.d; echo install "+module+" /bin/false >"+blocked+
		"; nft delete table inet machd 2>/dev/null || :; nft delete table inet machd_twin 2>/dev/null || :; ! lsmod | grep -q ^"+module+" || rmmod "+module)
	t.Cleanup(func() { os.Remove(blocked); restart() })
	restart()

	o := live.Observe(t, startCommand(name, "-p", "8080:80")...)
	if o.Code == 0 || !strings.Contains(o.Stderr, module) {
		t.Errorf("a port is published: exit status %d, %s", o.Code, o.Stderr)
	}
	at := start(t, name)
	if got := addresses(t, at, "-4"); !strings.Contains(got, "inet 10.") {
		t.Errorf("its addresses are %q", got)
	}
	if o := live.Observe(t, "machctl", "port", "add", name, "8080:80"); o.Code == 0 || !strings.Contains(o.Stderr, module) {
		t.Errorf("a port is added: exit status %d, %s", o.Code, o.Stderr)
	}
	if got := live.Run(t, "machctl", "status", "-n0", name); !strings.Contains(got, "Problem: ") || !strings.Contains(got, module) {
		t.Errorf("its status does not say what is wrong:\n%s", got)
	}

	live.Must(t, os.Remove(blocked))
	restart()
	live.Eventually(t, "a port can be added", func() error {
		if o := live.Observe(t, "machctl", "port", "add", name, "8080:80"); o.Code != 0 {
			return fmt.Errorf("%+v", o)
		}
		return nil
	})
	server, err := at.ServeAt(name, "0.0.0.0:80")
	live.Must(t, err)
	defer server.Close()
	wantAnswer(t, lan.Place{}, "127.0.0.1:8080", name)
}

// An ipvlan of a link is passed on.
func TestMachdNetworkPassesAnIPVLANOn(t *testing.T) {
	live.Run(t, "ip", "link", "add", "passed0", "type", "veth", "peer", "name", "passed1")
	t.Cleanup(func() { live.Run(t, "ip", "link", "delete", "passed0") })
	live.SayUdevKnows(t, "passed0")
	at := start(t, "passed", "--ipvlan=passed0:lan")
	out, err := at.Command(t.Context(), "ip", "-d", "-o", "link", "show", "dev", "lan").Output()
	if err != nil || !strings.Contains(string(out), "ipvlan") {
		t.Errorf("its link is %q, %v", out, err)
	}
	if got := addresses(t, at, "-4"); !strings.Contains(got, "inet 10.") {
		t.Errorf("the other one has %q", got)
	}
}
