package booted

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

// dialVarlink connects a user to the daemon's Varlink socket, until the test's end.
func dialVarlink(t *testing.T, user string) net.Conn {
	t.Helper()
	var conn net.Conn
	var err error
	as(t, user, func() { conn, err = net.Dial("unix", machine1.VarlinkSocket) })
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// varlinkCall makes one call on a connection of its own and returns the
// parameters of the answer, or its error.
func varlinkCall(t *testing.T, user, method, parameters string) (map[string]any, error) {
	t.Helper()
	conn := dialVarlink(t, user)
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err := fmt.Fprintf(conn, `{"method":%q,"parameters":%s}`+"\x00", method, parameters)
	must(t, err)
	frame, err := bufio.NewReader(conn).ReadBytes(0)
	if err != nil {
		return nil, err
	}
	var reply struct {
		Error      string
		Parameters map[string]any
	}
	must(t, json.Unmarshal(frame[:len(frame)-1], &reply))
	if reply.Error != "" {
		return reply.Parameters, errors.New(reply.Error)
	}
	return reply.Parameters, nil
}

// wantQuickVarlink checks that root is answered, and soon.
func wantQuickVarlink(t *testing.T) {
	t.Helper()
	start := time.Now()
	if _, err := varlinkCall(t, "root", "io.systemd.Machine.List", `{"name":".host"}`); err != nil {
		t.Errorf("root gets no answer: %v", err)
	}
	if delay := time.Since(start); delay > maxDelay {
		t.Errorf("root had to wait for %s", delay)
	}
}

// hostileVarlink runs attack and checks that the daemon stays small and loses
// no descriptors.
func hostileVarlink(t *testing.T, attack func()) {
	t.Helper()
	wantQuickVarlink(t) // and starts it
	daemon := pid(t)
	before := descriptors(t, daemon)
	if peak := peakMemory(t, daemon, attack); peak > maxMemory {
		t.Errorf("the daemon took %d KiB", peak)
	}
	eventually(t, "the descriptors are closed", func() error {
		if now := descriptors(t, daemon); now > before {
			return fmt.Errorf("it has %d, had %d", now, before)
		}
		return nil
	})
	wantQuickVarlink(t)
	if now := pid(t); now != daemon {
		t.Errorf("the daemon is process %d now", now)
	}
}

func TestMachdWaitsForNoHalfMessage(t *testing.T) {
	hostileVarlink(t, func() {
		conn := dialVarlink(t, "nobody")
		defer conn.Close()
		_, err := conn.Write([]byte(`{"method":"io.systemd.Mach`))
		must(t, err)
		wantQuickVarlink(t)
	})
}

func TestMachdDropsMessagesWithoutEnd(t *testing.T) {
	megabyte := bytes.Repeat([]byte{' '}, 1<<20)
	hostileVarlink(t, func() {
		conn := dialVarlink(t, "nobody")
		must(t, conn.SetDeadline(time.Now().Add(patience)))
		for i := 0; ; i++ {
			if i == 10 {
				t.Error("10 MB without end are still welcome")
				break
			}
			_, err := conn.Write(megabyte)
			if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
				break
			}
			must(t, err)
		}
		if _, err := conn.Read(megabyte); !errors.Is(err, io.EOF) && !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("the connection is not closed: %v", err)
		}
		conn.Close()
	})
}

// One user cannot take the place of the others, nor all descriptors.
func TestMachdHasRoomBesidesAThousandConnections(t *testing.T) {
	hostileVarlink(t, func() {
		before := descriptors(t, pid(t))
		for range 1000 {
			conn := dialVarlink(t, "nobody")
			defer conn.Close()
			_, err := conn.Write([]byte(`{"method":`))
			if err != nil && !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) {
				t.Fatal(err)
			}
		}
		wantQuickVarlink(t)
		if taken := descriptors(t, pid(t)) - before; taken > 200 {
			t.Errorf("one user has taken %d descriptors", taken)
		}
	})
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
