package client_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/machd/machd/client"
	"github.com/machd/machd/client/internal/machine1test"
	"github.com/machd/machd/client/internal/sshtest"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

func TestMain(m *testing.M) { testscript.Main(m, sshtest.Commands()) }

func TestHostsAreWrittenAsForSystemdsOtherCommands(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]client.Host{
		"web":                     {Name: "web"},
		"alice@web":               {User: "alice", Name: "web"},
		"web:2222":                {Name: "web", Port: 2222},
		"web/c8-ns":               {Name: "web", Container: "c8-ns"},
		"alice@web:22/c8-ns":      {User: "alice", Name: "web", Port: 22, Container: "c8-ns"},
		"web:c8-ns":               {Name: "web", Container: "c8-ns"},
		"192.0.2.7:65535":         {Name: "192.0.2.7", Port: 65535},
		"[2001:db8::7]":           {Name: "2001:db8::7"},
		"bob@[fe80::1%eth0]:22/m": {User: "bob", Name: "fe80::1%eth0", Port: 22, Container: "m"},
		"bob@example.com@web":     {User: "bob@example.com", Name: "web"},
	} {
		got, err := client.ParseHost(text)
		if err != nil || got != want {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
		if again, err := client.ParseHost(got.String()); err != nil || again != got {
			t.Errorf("%q: written as %q it is %+v, %v", text, got, again, err)
		}
	}
	for text, why := range map[string]string{
		"":               "there is no host",
		"@web":           "no user before the @",
		"-oProxyCommand": "neither a host nor a user begins with -",
		"-x@web":         "neither a host nor a user begins with -",
		"web:0":          `"0" is no port`,
		"web:65536":      `"65536" is no port`,
		"web:":           `"" is no port`,
		"web:m/c":        `"m" is no port`,
		"web/":           `"" cannot be a machine's name`,
		"web/a b":        `"a b" cannot be a machine's name`,
		"web/m/n":        `"m/n" cannot be a machine's name`,
		"::1":            "an IPv6 address stands in brackets",
		"[web]":          "only an IPv6 address stands in brackets",
		"[::1":           "only an IPv6 address stands in brackets",
		"[::1]22":        "only a port may follow the brackets",
		"we b":           "characters in it",
		"we\nb":          "characters in it",
		"$(reboot)":      "characters in it",
	} {
		got, err := client.ParseHost(text)
		if !errors.Is(err, machine1.ErrInvalidArgs) || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: got %+v, %v, want %s", text, got, err, why)
		}
	}
}

func TestContainersAreWrittenAsForSystemdsOtherCommands(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]client.Container{
		"c8-ns":       {Name: "c8-ns"},
		"alice@c8-ns": {User: "alice", Name: "c8-ns"},
		".host":       {Name: ".host"},
		"alice@":      {User: "alice", Name: ".host"},
		"alice@.host": {User: "alice", Name: ".host"},
	} {
		if got, err := client.ParseContainer(text); err != nil || got != want {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "@", "a b", "-x@m", "alice@-m", "a/b"} {
		if got, err := client.ParseContainer(text); !errors.Is(err, machine1.ErrInvalidArgs) {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
}

// throughSSH has the bus of a world be that of all hosts, and returns what ssh is
// told.
func throughSSH(t *testing.T) (w *machine1test.World, told func() string) {
	t.Helper()
	w = machine1test.New(t)
	log := filepath.Join(t.TempDir(), "log")
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", w.Address)
	t.Setenv(sshtest.Log, log)
	t.Setenv("GORACE", "atexit_sleep_ms=0") // or ssh, which this program is, would end late
	return w, func() string {
		text, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
}

func TestABusIsReachedThroughSSH(t *testing.T) {
	w, told := throughSSH(t)
	w.Add(machine1test.C8NS())
	host := client.Host{User: "alice", Name: "far", Port: 2222, Container: "inner"}
	c, err := client.ConnectHost(t.Context(), host, client.UserBus())
	if err != nil {
		t.Fatal(err)
	}
	machines, err := c.List(t.Context())
	if err != nil || len(machines) != 2 || machines[1].Name != "c8-ns" {
		t.Errorf("the machines are %v, %v", machines, err)
	}
	want := "-x -o ConnectTimeout=15 -T -p 2222 -- alice@far systemd-stdio-bridge --machine=inner --user\n"
	if diff := cmp.Diff(want, told()); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	if children := sshChildren(t); len(children) != 1 {
		t.Errorf("the children are %q", children)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	wantNoChildren(t)
}

// wantNoChildren fails if a program of ours is still there.
func wantNoChildren(t *testing.T) {
	t.Helper()
	if children := sshChildren(t); len(children) > 0 {
		t.Errorf("there are still %q", children)
	}
}

func sshChildren(t *testing.T) (lines []string) {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(tasks) == 0 {
		t.Fatalf("cannot find out which children there are: %v", err)
	}
	for _, task := range tasks {
		children, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		for _, pid := range strings.Fields(string(children)) {
			line, _ := os.ReadFile("/proc/" + pid + "/cmdline")
			if words := strings.ReplaceAll(string(line), "\x00", " "); strings.HasPrefix(words, "ssh ") {
				lines = append(lines, words)
			}
		}
	}
	return lines
}

func TestHostsThatCannotBeReached(t *testing.T) {
	throughSSH(t)
	for name, row := range map[string]struct {
		want error
		text string
	}{
		sshtest.Refused: {machine1.ErrDisconnected, "ssh ended with exit status 255: ssh: connect to host refused port 22: Connection refused"},
		sshtest.Bare:    {machine1.ErrDisconnected, "ssh ended with exit status 127: sh: 1: systemd-stdio-bridge: not found"},
		sshtest.Silent:  {machine1.ErrTimeout, "the bus at silent does not answer"},
		sshtest.Noisy:   {machine1.ErrDisconnected, `it says "Welcome to noisy!"`},
	} {
		patience := time.Minute
		if name == sshtest.Silent {
			patience = 2 * time.Second
		}
		_, err := client.ConnectHost(t.Context(), client.Host{Name: name}, client.Patience(patience))
		if !errors.Is(err, row.want) || !strings.Contains(err.Error(), row.text) {
			t.Errorf("%s: %v, want %v with %q", name, err, row.want, row.text)
		}
	}
	for what, host := range map[string]client.Host{
		"an option as a host":     {Name: "-oProxyCommand=reboot"},
		"a command as a machine":  {Name: "far", Container: "m;reboot"},
		"an option as a machine":  {Name: "far", Container: "-m"},
		"a user before a machine": {Name: "far", Container: "alice@m"},
	} {
		if _, err := client.ConnectHost(t.Context(), host); !errors.Is(err, machine1.ErrInvalidArgs) {
			t.Errorf("%s: %v", what, err)
		}
	}
	wantNoChildren(t)
}

func TestConnectingToAHostEndsWithItsContext(t *testing.T) {
	throughSSH(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := client.ConnectHost(ctx, client.Host{Name: sshtest.Silent}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it ended with %v", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	wantNoChildren(t)
}

func TestAConnectionToAHostPassesNoFiles(t *testing.T) {
	w, _ := throughSSH(t)
	w.Add(machine1test.C8NS())
	c, err := client.ConnectHost(t.Context(), client.Host{Name: "far"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	file, err := os.Open("/etc/hostname")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for what, call := range map[string]func() error{
		"a login":  func() error { _, err := c.OpenLogin(t.Context(), "c8-ns"); return err },
		"the root": func() error { _, err := c.OpenRoot(t.Context(), "c8-ns"); return err },
		"a command": func() error {
			_, err := c.Exec(t.Context(), "c8-ns", client.ExecCommand{Args: []string{"true"}})
			return err
		},
		"an image of a file": func() error {
			_, err := c.CreateImage(t.Context(), "new", machd.SourceGiven, file, client.ImageOptions{}, nil)
			return err
		},
	} {
		before := len(w.Calls())
		if err := call(); !errors.Is(err, machine1.ErrNotSupported) || !strings.Contains(err.Error(), "passes none") {
			t.Errorf("%s: %v", what, err)
		}
		if calls := w.Calls()[before:]; len(calls) > 0 {
			t.Errorf("%s: the daemon was told %q", what, calls)
		}
	}
}

func TestAConnectionToAHostEndsWithItsContext(t *testing.T) {
	throughSSH(t)
	ctx, cancel := context.WithCancel(t.Context())
	c, err := client.ConnectHost(ctx, client.Host{Name: "far"})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	// A call that is under way by then may still be answered.
	for err == nil {
		_, err = c.List(t.Context())
	}
	if !errors.Is(err, machine1.ErrDisconnected) {
		t.Errorf("a call ends with %v", err)
	}
	c.Close()
	wantNoChildren(t)
}

// This host as a machine is this host, with all that is beside its bus.
func TestThisHostIsReachedAsByConnect(t *testing.T) {
	w := machine1test.New(t)
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", w.Address)
	host := client.Container{Name: machine1.Host}
	c, err := client.ConnectMachine(t.Context(), host, client.Plain())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.OpenRoot(t.Context(), machine1.Host); !errors.Is(err, machine1.ErrNotSupported) {
		t.Errorf("it does not heed the options of Connect: %v", err)
	}
}

// Who is not to be asked for a password is not asked on the way to a machine.
func TestWhoIsNotAskedOnTheWay(t *testing.T) {
	w := machine1test.New(t)
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", w.Address)
	t.Setenv("PATH", t.TempDir()) // the bridge is missing, so the daemon leads into the machine
	w.Add(machine1test.C8NS())
	for _, options := range [][]client.Option{nil, {client.Interactive()}} {
		if c, err := client.ConnectMachine(t.Context(), client.Container{Name: "c8-ns"}, options...); err == nil {
			c.Close()
			t.Error("a bus was found in a machine that has no bridge")
		}
	}
	calls := w.Calls()
	if len(calls) != 2 || strings.HasSuffix(calls[0], " interactive") || !strings.HasSuffix(calls[1], " interactive") {
		t.Errorf("the daemon was told %q", calls)
	}
}
