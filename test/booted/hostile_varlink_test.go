package booted

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

// addVarlink has one more client of the probe, on a Varlink socket.
func (p *probe) addVarlink(t *testing.T, user string) {
	conn := dialVarlink(t, user)
	message := varlinkMessage("io.systemd.Machine.List", `{"name":".host"}`)
	p.clients.Go(func() {
		p.repeat(t, time.Millisecond, false, func(uint32) error {
			if _, err := fmt.Fprint(conn, message+"\x00"); err != nil {
				return err
			}
			_, err := conn.next()
			return err
		})
	})
}

// varlinkSockets are all that anybody can connect to.
var varlinkSockets = []string{machine1.VarlinkSocket, imageSocket, accountsSocket, hookSocket}

// writeAll writes what the daemon takes of a message, and reports false if it
// has enough.
func writeAll(t *testing.T, conn net.Conn, message []byte) bool {
	t.Helper()
	must(t, conn.SetWriteDeadline(time.Now().Add(time.Second)))
	_, err := conn.Write(message)
	switch {
	case errors.Is(err, unix.EPIPE), errors.Is(err, unix.ECONNRESET), errors.Is(err, os.ErrDeadlineExceeded):
		return false
	}
	must(t, err)
	return true
}

// What any user sends to a Varlink socket harms nobody else.
func TestMachdHostileVarlink(t *testing.T) {
	call := []byte(`{"method":"io.systemd.Machine.List","parameters":{},"more":true}` + "\x00")
	for _, attack := range []struct {
		name string
		run  func(t *testing.T, user string)
	}{
		{"half a frame on each of 200 connections", func(t *testing.T, user string) {
			for range 200 {
				writeAll(t, dialVarlink(t, user), call[:20])
			}
		}},
		{"a megabyte of NUL", func(t *testing.T, user string) {
			writeAll(t, dialVarlink(t, user), make([]byte, 1<<20))
		}},
		{"10 MB without end", func(t *testing.T, user string) {
			conn := dialVarlink(t, user)
			megabyte := bytes.Repeat([]byte{' '}, 1<<20)
			for range 10 {
				if !writeAll(t, conn, megabyte) {
					return
				}
			}
			t.Error("10 MB without end are still welcome")
		}},
		{"10,000 calls, and no reply is read", func(t *testing.T, user string) {
			for range 10 {
				writeAll(t, dialVarlink(t, user), bytes.Repeat(call, 1000))
			}
		}},
		{"100,000 arrays inside one another", func(t *testing.T, user string) {
			deep := `{"method":"io.systemd.Machine.List","parameters":{"name":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + "}}\x00"
			writeAll(t, dialVarlink(t, user), []byte(deep))
		}},
		{"half a megabyte of keys", func(t *testing.T, user string) {
			keys := `{"method":"io.systemd.Machine.List","parameters":{"a":1` + strings.Repeat(`,"a":1`, 80_000) + "}}\x00"
			writeAll(t, dialVarlink(t, user), []byte(keys))
		}},
		{"descriptors with half a frame and with none", sendDescriptors},
		{"5,000 connections to all sockets", func(t *testing.T, user string) {
			daemon := pid(t)
			before := descriptors(t, daemon)
			crowdSockets(t, user, 5000)
			if taken := descriptors(t, daemon) - before; taken > len(varlinkSockets)*maxUserConnections {
				t.Errorf("one user has taken %d descriptors", taken)
			}
		}},
	} {
		for _, user := range hostileUsers {
			t.Run(user+" sends "+attack.name, func(t *testing.T) {
				wantUnharmed(t, func(t *testing.T, others *probe) {
					others.addVarlink(t, "root")
					others.addVarlink(t, "alice")
					attack.run(t, user)
				})
			})
		}
	}
}

// maxUserConnections is how many connections to one socket a user may have.
const maxUserConnections = 128

// crowdSockets makes n connections, as far as it is let.
func crowdSockets(t *testing.T, user string, n int) {
	t.Helper()
	as(t, user, func() {
		for i := range n {
			conn, err := net.Dial("unix", varlinkSockets[i%len(varlinkSockets)])
			if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("connection %d: %v", i, err)
				return
			}
			if err == nil {
				t.Cleanup(func() { conn.Close() })
			}
		}
	})
}

// sendDescriptors sends as many as go into a message, again and again.
func sendDescriptors(t *testing.T, user string) {
	null, err := os.Open(os.DevNull)
	must(t, err)
	defer null.Close()
	fds := make([]int, 253)
	for i := range fds {
		fds[i] = int(null.Fd())
	}
	for _, text := range []string{`{"method":`, "{}\x00", "\x00", `{"method":"io.systemd.Machine.List","parameters":{"name":".host"}}` + "\x00"} {
		for range 20 {
			conn := dialVarlink(t, user)
			must(t, conn.SetWriteDeadline(time.Now().Add(time.Second)))
			conn.WriteMsgUnix([]byte(text), unix.UnixRights(fds...), nil) // may be refused
			conn.WriteMsgUnix([]byte(text), unix.UnixRights(fds...), nil)
		}
	}
}

func TestMachdAnswersStrictly(t *testing.T) {
	for _, trial := range []struct{ name, method, parameters, want string }{
		{"a key that it does not know", "io.systemd.Machine.List", `{"name":".host","bogus":1}`, "org.varlink.service.InvalidParameter"},
		{"no machine of that name", "io.systemd.Machine.List", `{"name":"nobody"}`, "io.systemd.Machine.NoSuchMachine"},
		{"a list that is not asked to be one", "io.systemd.Machine.List", `{}`, "org.varlink.service.ExpectedMore"},
		{"a method that it does not have", "io.systemd.Machine.Nothing", `{}`, "org.varlink.service.MethodNotFound"},
		{"an interface that it does not have", "no.such.Interface.Method", `{}`, "org.varlink.service.MethodNotFound"},
		{"a wrong type", "io.systemd.Machine.List", `{"name":7}`, "org.varlink.service.InvalidParameter"},
	} {
		t.Run(trial.name, func(t *testing.T) {
			t.Parallel()
			for _, user := range hostileUsers {
				if _, err := varlinkCall(t, user, trial.method, trial.parameters); err == nil || err.Error() != trial.want {
					t.Errorf("%s got %v, want %s", user, err, trial.want)
				}
			}
		})
	}
}
