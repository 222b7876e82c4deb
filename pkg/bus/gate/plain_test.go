package gate_test

import (
	"bufio"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/bus/gate"
	"github.com/machd/machd/pkg/dbustest"
)

func TestAPlainConnectionPassesNoDescriptors(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	serve(t, b)
	client := dialer(gate.DialPlain).dial(t, b)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	object, fd := client.Object(serverName, "/"), dbus.UnixFD(null.Fd())
	if err := object.Call(serverName+".EchoFD", 0, fd, fd).Err; err == nil {
		t.Error("it passed descriptors")
	}
	var got string
	if err := object.Call(serverName+".Echo", 0, "still there").Store(&got); err != nil || got != "still there" {
		t.Errorf("afterwards: %q, %v", got, err)
	}
}

// A bus says so only after it has been greeted.
func TestABusThatLetsNobodyIn(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "bus")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = bufio.NewReader(conn).ReadString('\n')
		_, _ = conn.Write([]byte("REJECTED COOKIE\r\n"))
	}()
	conn, err := gate.DialPlain(t.Context(), "unix:path="+socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Auth(nil); err != nil {
		t.Fatal(err)
	}
	if err := conn.Hello(); err == nil || !strings.Contains(err.Error(), "does not let user") {
		t.Errorf("Hello ends with %v", err)
	}
}
