package metrics_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/metrics"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// machines are those of a Manager, with numbers of their own.
type machines struct {
	*machine.Manager
	usage []machine.Usage
	err   error
}

func (m *machines) Usage(context.Context) ([]machine.Usage, error) { return m.usage, m.err }

// pid1 agrees to everything.
type pid1 struct{ machine.Units }

func (pid1) StartTransient(context.Context, string, string, []machine1.Property) (dbus.ObjectPath, error) {
	return "/job/1", nil
}
func (pid1) WaitJob(context.Context, dbus.ObjectPath) (string, error) { return "done", nil }
func (pid1) JobExists(context.Context, dbus.ObjectPath) (bool, error) { return false, nil }
func (pid1) Unref(context.Context, string) error                      { return nil }

// serve has a Face answer for a container called web and returns its socket.
func serve(t *testing.T) (m *machines, socket string) {
	t.Helper()
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "etc"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "etc/machine-id"), []byte("0123456789abcdef0123456789abcdef\n"), 0o644))
	log := slog.New(slog.DiscardHandler)
	manager, err := machine.New(machine.Config{Dir: filepath.Join(dir, "machines"), Root: dir, Units: pid1{}, Emit: func(machine.Event) {}, Log: log})
	must(t, err)
	m = &machines{Manager: manager}

	cmd := exec.Command("sleep", "600")
	must(t, cmd.Start())
	leader, err := proc.Open(cmd.Process.Pid)
	must(t, err)
	web, err := manager.Create(t.Context(), machine.Registration{
		Name: "web", Class: machine1.ClassContainer, Service: "a \"b\"\n\\c", Leader: leader,
	}, nil, false)
	must(t, err)
	cpu, memory, tasks := uint64(1500250), uint64(1<<30), uint64(7)
	m.usage = []machine.Usage{{Machine: web, Usage: machd.Usage{CPU: &cpu, Memory: &memory, Tasks: &tasks}}}

	socket = filepath.Join(dir, "run/metrics.sock")
	l, err := metrics.Listen(socket)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- metrics.New(m, "1.2", log).Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(socket); err == nil {
			t.Error("the socket is left")
		}
		leader.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	return m, socket
}

func client(socket string) *http.Client {
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
}

func get(t *testing.T, socket, path string) (*http.Response, []byte) {
	t.Helper()
	r, err := client(socket).Get("http://machd" + path)
	must(t, err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	must(t, err)
	return r, body
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	m, socket := serve(t)
	r, body := get(t, socket, "/metrics")
	if got := r.Header.Get("Content-Type"); r.StatusCode != http.StatusOK || got != "application/openmetrics-text; version=1.0.0; charset=utf-8" {
		t.Errorf("%s, %s", r.Status, got)
	}
	families, err := parse(string(body))
	if err != nil {
		t.Fatalf("%v\n%s", err, body)
	}
	web := m.usage[0].Machine
	want := map[string]map[string]string{
		"machd_build":               {`machd_build_info{version="1.2"}`: "1"},
		"machd_machines":            {`machd_machines{class="container"}`: "1", `machd_machines{class="vm"}`: "0"},
		"machd_machines_registered": {`machd_machines_registered_total`: "1"},
		"machd_machines_ended":      {},
		"machd_machine": {
			`machd_machine_info{machine="web",class="container",service="a \"b\"\n\\c",unit="machine-web.scope"}`: "1",
		},
		"machd_machine_start_time_seconds": {
			`machd_machine_start_time_seconds{machine="web"}`: fmt.Sprintf("%d.%06d", web.Realtime/1e6, web.Realtime%1e6),
		},
		"machd_machine_cpu_seconds":      {`machd_machine_cpu_seconds_total{machine="web"}`: "1.500250"},
		"machd_machine_memory_bytes":     {`machd_machine_memory_bytes{machine="web"}`: "1073741824"},
		"machd_machine_tasks":            {`machd_machine_tasks{machine="web"}`: "7"},
		"machd_machine_io_read_bytes":    {},
		"machd_machine_io_written_bytes": {},
	}
	if diff := cmp.Diff(want, families); diff != "" {
		t.Error(diff)
	}
}

// Machines that end are counted.
func TestMetricsOfThePast(t *testing.T) {
	t.Parallel()
	m, socket := serve(t)
	must(t, m.Unregister(t.Context(), "web"))
	m.usage = nil
	_, body := get(t, socket, "/metrics")
	families, err := parse(string(body))
	must(t, err)
	if got := families["machd_machines_ended"][`machd_machines_ended_total{result="unregistered"}`]; got != "1" {
		t.Errorf("%v", families["machd_machines_ended"])
	}
	if got := families["machd_machines"][`machd_machines{class="container"}`]; got != "0" {
		t.Errorf("%v", families["machd_machines"])
	}
}

func TestOtherRequests(t *testing.T) {
	t.Parallel()
	m, socket := serve(t)
	m.err = fmt.Errorf("no cgroups here")
	for request, want := range map[string]string{
		"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n":                       "500 ",
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n":                              "404 ",
		"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n": "405 ",
		"nonsense\r\n\r\n": "400 ",
		"GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 64<<10) + "\r\n\r\n": "431 ",
	} {
		c, err := net.Dial("unix", socket)
		must(t, err)
		go io.WriteString(c, request)
		answer := make([]byte, 13)
		if _, err := io.ReadFull(c, answer); err != nil || !bytes.HasSuffix(answer, []byte(want)) {
			t.Errorf("%.60q: %q, %v; want %s", request, answer, err, want)
		}
		c.Close()
	}
}

// Who connects and says nothing keeps others waiting for a while, and no
// longer.
func TestSilentClientsAreHungUp(t *testing.T) {
	t.Parallel()
	_, socket := serve(t)
	for range 40 {
		c, err := net.Dial("unix", socket)
		must(t, err)
		defer c.Close()
	}
	if r, _ := get(t, socket, "/metrics"); r.StatusCode != http.StatusOK {
		t.Error(r.Status)
	}
}

func TestListenTakesTheLastDaemonsPlace(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "metrics.sock")
	first, err := metrics.Listen(path)
	must(t, err)
	first.SetUnlinkOnClose(false)
	first.Close()
	second, err := metrics.Listen(path)
	must(t, err)
	second.Close()
	must(t, os.Mkdir(path, 0o755))
	must(t, os.WriteFile(filepath.Join(path, "x"), nil, 0o644))
	if l, err := metrics.Listen(path); err == nil {
		l.Close()
		t.Error("a directory was taken for an old socket")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
