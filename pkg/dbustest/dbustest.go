// Package dbustest runs a private dbus-daemon for one test. It reads and sets
// nothing of the process's environment, so that tests run in parallel; it must
// not know what is served on the bus.
package dbustest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// startTimeout bounds how long the daemon may take to listen.
const startTimeout = 30 * time.Second

// A Bus is a running dbus-daemon. It ends with its test, and also when the
// test binary is killed.
type Bus struct {
	Address string // a D-Bus address

	t    testing.TB
	stop func()
}

// New starts a bus where everybody may own every name and send everything,
// with the generous limits of a session bus. The test is skipped if there is
// no dbus-daemon.
func New(t testing.TB) *Bus {
	t.Helper()
	return start(t, sessionConfig)
}

// NewSystem starts a bus with the policy and the limits of the system bus:
// nobody may own a name or call a method, except as the policy files say. Those
// are complete configuration files, such as dbus-policy's.
func NewSystem(t testing.TB, policyFiles ...string) *Bus {
	t.Helper()
	var includes strings.Builder
	for _, file := range policyFiles {
		path, err := filepath.Abs(file)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&includes, "<include>%s</include>\n", path)
	}
	return start(t, systemConfig+includes.String())
}

// Dial connects to the bus until the test ends. It is a connection of godbus
// as it is, on which a test may also serve objects.
func (b *Bus) Dial() *dbus.Conn {
	b.t.Helper()
	conn, err := dbus.Connect(b.Address, dbus.WithContext(b.t.Context()), dbus.WithSignalHandler(dbus.NewSequentialSignalHandler()))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	return conn
}

// Stop ends the daemon, and with it all connections, before the test ends.
func (b *Bus) Stop() { b.stop() }

// The shell ends the daemon when its standard input is closed, which the
// kernel does however we end.
const supervisor = `"$@" & daemon=$!; cat; kill $daemon; wait $daemon`

func start(t testing.TB, config string) *Bus {
	t.Helper()
	program, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skip("needs dbus-daemon")
	}
	// A socket's path has at most 107 bytes; t.TempDir may be longer.
	dir, err := os.MkdirTemp("", "dbustest")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := filepath.Join(dir, "bus.conf")
	if err := os.WriteFile(file, configFile(dir, config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", supervisor, "sh",
		program, "--nofork", "--nopidfile", "--config-file="+file, "--print-address=3")
	address, stop, err := launch(t, cmd)
	if err != nil {
		t.Fatalf("cannot start dbus-daemon: %v", err)
	}
	t.Cleanup(stop)
	return &Bus{Address: address, t: t, stop: stop}
}

// launch starts cmd and returns the address that it prints on descriptor 3.
func launch(t testing.TB, cmd *exec.Cmd) (address string, stop func(), err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", nil, err
	}
	defer r.Close()
	cmd.ExtraFiles = []*os.File{w}
	cmd.Stdout, cmd.Stderr = logWriter{t}, logWriter{t}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		w.Close()
		return "", nil, err
	}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return "", nil, err
	}
	stop = sync.OnceFunc(func() {
		stdin.Close()
		cmd.Wait()
	})
	address, err = readAddress(r)
	if err != nil {
		stop()
	}
	return address, stop, err
}

func readAddress(r *os.File) (string, error) {
	if err := r.SetReadDeadline(time.Now().Add(startTimeout)); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(r).ReadString('\n')
	if errors.Is(err, io.EOF) {
		return "", errors.New("it ended before it printed its address")
	}
	return strings.TrimSpace(line), err
}

// A logWriter writes to the test's log.
type logWriter struct{ t testing.TB }

func (w logWriter) Write(p []byte) (int, error) {
	w.t.Logf("dbus-daemon: %s", strings.TrimRight(string(p), "\n"))
	return len(p), nil
}
