package lan

import (
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// elsewhere is an empty network namespace with a loopback.
func elsewhere(t *testing.T) Place {
	t.Helper()
	cmd := exec.Command("unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec sleep 60")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if n, err := out.Read(make([]byte, 8)); n == 0 {
		t.Fatal("there is no other namespace:", err)
	}
	return Of(cmd.Process.Pid)
}

func TestAServerAnswersWhereItIs(t *testing.T) {
	if unix.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	there := elsewhere(t)
	server, err := there.Serve("me", 8080)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	for _, network := range []string{"tcp", "udp"} {
		for _, address := range []string{"127.0.0.1", "::1"} {
			got, err := there.Ask(network, net.JoinHostPort(address, "8080"))
			if want := (Answer{"me", netip.MustParseAddr(address)}); err != nil || got != want {
				t.Errorf("%s %s: %v, %v, want %v", network, address, got, err, want)
			}
		}
	}
	if _, err := (Place{}).Ask("tcp", "127.0.0.1:8080"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("here it answers, too: %v", err)
	}
	conn, err := there.Dial("tcp", "127.0.0.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := Hear(conn); err != nil {
		t.Error(err)
	}
	server.Close()
	if err := Echoes(conn); err != nil {
		t.Error("its connection ended with it:", err)
	}
}
