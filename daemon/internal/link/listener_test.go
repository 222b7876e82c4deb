package link_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/link"
)

// asListener is set for a process that runs listenAndWait in place of the tests.
const asListener = "MACHD_TEST_LISTEN"

// listenAndWait listens at the network and address that it has for arguments,
// until its input ends.
func listenAndWait() error {
	socket, err := bind(os.Args[1], os.Args[2])
	if err != nil {
		return err
	}
	defer socket.Close()
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func bind(network, address string) (io.Closer, error) {
	if strings.HasPrefix(network, "udp") {
		return net.ListenPacket(network, address)
	}
	return net.Listen(network, address)
}

// listener runs a process in the namespace that listens until the test ends, and
// returns its PID.
func (n space) listener(network, address string) int {
	n.tb.Helper()
	cmd := exec.Command("/proc/self/exe", network, address)
	cmd.Env = append(os.Environ(), asListener+"=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	must(n.tb, err)
	out, err := cmd.StdoutPipe()
	must(n.tb, err)
	must(n.tb, n.Inside(cmd.Start))
	n.tb.Cleanup(func() { stdin.Close(); cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		n.tb.Fatalf("it says %q, %v", line, err)
	}
	return cmd.Process.Pid
}

func TestWhoWouldNoLongerHearOfAPortIsFound(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		network, listens string
		heard            []string // addresses at which it does, "" for any
		not              []string
	}{
		{"tcp4", "0.0.0.0:80", []string{"", "10.1.1.1", "127.0.0.1"}, []string{"::1", "fd00::1"}},
		{"tcp4", "127.0.0.1:80", []string{"", "127.0.0.1"}, []string{"10.1.1.1", "::1"}},
		{"tcp", "[::]:80", []string{"", "10.1.1.1", "127.0.0.1", "::1", "fd00::1"}, nil},
		{"tcp6", "[::]:80", []string{"", "::1", "fd00::1"}, []string{"127.0.0.1"}},
		{"tcp6", "[::1]:80", []string{"", "::1"}, []string{"fd00::1", "127.0.0.1"}},
		{"udp4", "0.0.0.0:80", []string{"", "10.1.1.1"}, []string{"::1"}},
		{"udp", "[::]:80", []string{"", "10.1.1.1", "::1"}, nil},
	} {
		t.Run(test.network+" "+test.listens, func(t *testing.T) {
			t.Parallel()
			host := newSpace(t, 0)
			pid := host.listener(test.network, test.listens)
			protocol, other := uint8(unix.IPPROTO_TCP), uint8(unix.IPPROTO_UDP)
			if strings.HasPrefix(test.network, "udp") {
				protocol, other = other, protocol
			}
			look := func(protocol uint8, address string, port uint16) (link.Holder, bool) {
				var addr netip.Addr
				if address != "" {
					addr = netip.MustParseAddr(address)
				}
				who, found, err := host.Listener(protocol, addr, port)
				must(t, err)
				return who, found
			}
			for _, address := range test.heard {
				who, found := look(protocol, address, 80)
				if !found || who.PID != pid || who.Comm != "exe" || who.At != netip.MustParseAddrPort(test.listens) {
					t.Errorf("at %q: %+v (%v), want process %d", address, who, found, pid)
				}
			}
			for _, address := range test.not {
				if who, found := look(protocol, address, 80); found {
					t.Errorf("at %s: %+v", address, who)
				}
			}
			if who, found := look(other, "", 80); found {
				t.Errorf("of the other protocol: %+v", who)
			}
			if who, found := look(protocol, "", 81); found {
				t.Errorf("at another port: %+v", who)
			}
		})
	}
}

func TestThisProcessIsNotInItsOwnWay(t *testing.T) {
	t.Parallel()
	host := newSpace(t, 0)
	at := host.listen("127.0.0.1:0")
	if who, found, err := host.Listener(unix.IPPROTO_TCP, netip.Addr{}, at.Port()); found || err != nil {
		t.Errorf("found %v, %v", who, err)
	}
}

func TestWhatListensInAMachineIsFound(t *testing.T) {
	t.Parallel()
	machine := newSpace(t, 0)
	for address, network := range map[string]string{
		"[::]:80": "tcp", "127.0.0.1:81": "tcp4", "[::]:82": "tcp6", "0.0.0.0:80": "udp4",
	} {
		must(t, machine.Inside(func() error {
			socket, err := bind(network, address)
			if err == nil {
				t.Cleanup(func() { socket.Close() })
			}
			return err
		}))
	}
	for _, test := range []struct {
		protocol uint8
		port     uint16
		want     string
	}{
		{unix.IPPROTO_TCP, 80, "[0.0.0.0 ::]"},
		{unix.IPPROTO_TCP, 81, "[127.0.0.1]"},
		{unix.IPPROTO_TCP, 82, "[::]"},
		{unix.IPPROTO_TCP, 83, "[]"},
		{unix.IPPROTO_UDP, 80, "[0.0.0.0]"},
		{unix.IPPROTO_UDP, 81, "[]"},
	} {
		all, err := machine.Listens(test.protocol)
		got := all[test.port]
		must(t, err)
		if fmt.Sprint(got) != test.want {
			t.Errorf("protocol %d, port %d: %v, want %s", test.protocol, test.port, got, test.want)
		}
	}
}

func TestAHolderIsDescribed(t *testing.T) {
	t.Parallel()
	for holder, want := range map[link.Holder]string{
		{}:                      "a process that cannot be found",
		{PID: 7, Comm: "nginx"}: "nginx (PID 7)",
		{PID: 7, Comm: "nginx", Unit: "n.service"}: "nginx (PID 7, n.service)",
	} {
		if got := holder.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
