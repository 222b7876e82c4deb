package dbustest_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/dbustest"
)

func TestEverybodyMayOwnAndCallOnASessionBus(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	server, client := b.Dial(), b.Dial()
	reply, err := server.RequestName("org.example.Test", 0)
	if err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("RequestName: %v, %v", reply, err)
	}
	call := client.Object("org.example.Test", "/").Call("org.freedesktop.DBus.Peer.Ping", 0)
	if call.Err != nil {
		t.Fatal(call.Err)
	}
}

func TestASystemBusIsClosedUntilAPolicyOpensIt(t *testing.T) {
	t.Parallel()
	closed := dbustest.NewSystem(t).Dial()
	if _, err := closed.RequestName("org.example.Test", 0); err == nil {
		t.Error("a name could be owned without a policy")
	}

	policy := filepath.Join(t.TempDir(), "policy.conf")
	const text = `<busconfig><policy context="default"><allow own="org.example.Test"/></policy></busconfig>`
	if err := os.WriteFile(policy, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	open := dbustest.NewSystem(t, policy).Dial()
	if _, err := open.RequestName("org.example.Test", 0); err != nil {
		t.Errorf("a name could not be owned in spite of the policy: %v", err)
	}
}

func TestStopEndsTheConnections(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	conn := b.Dial()
	b.Stop()
	select {
	case <-conn.Context().Done():
	case <-time.After(10 * time.Second):
		t.Error("the connection outlived the bus")
	}
}
