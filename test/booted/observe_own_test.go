package booted

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// What a guest's supervisor and console wrote is in its logs while it runs and
// afterwards, and so is what the guest's own journal has.
func TestMachdLogs(t *testing.T) {
	t.Parallel()
	const name = "logs-guest"
	copyImage(t, "c8-ns", name)
	run(t, "machctl", "start", name)
	t.Cleanup(func() { observe(t, "machctl", "terminate", name) })
	for _, tt := range []struct{ want, args string }{
		{"Debian GNU/Linux 13", ""},
		{"Started " + transientOf(name), ""},
		{"Startup finished", "--inside"},
	} {
		eventually(t, "logs say "+tt.want, func() error { // once they have got into the journal
			if got := run(t, append([]string{"machctl", "logs", name}, strings.Fields(tt.args)...)...); !strings.Contains(got, tt.want) {
				return fmt.Errorf("logs %s say\n%s", tt.args, got)
			}
			return nil
		})
	}
	if got := strings.Split(run(t, "machctl", "logs", name, "-n", "2", "-o", "cat"), "\n"); len(got) != 2 {
		t.Errorf("two lines are %q", got)
	}

	follow := exec.Command("machctl", "logs", name, "-f", "-n", "1")
	out, err := follow.StdoutPipe()
	must(t, err)
	must(t, follow.Start())
	defer follow.Process.Kill()
	defer time.AfterFunc(3*patience, func() { follow.Process.Kill() }).Stop()
	lines := bufio.NewReader(out)
	_, err = lines.ReadString('\n')
	must(t, err)
	run(t, "machctl", "stop", name)
	rest, err := io.ReadAll(lines)
	must(t, err)
	if !strings.Contains(string(rest), "Power") || follow.Wait() != nil {
		t.Errorf("what was followed to its end ends with %s", rest)
	}

	for _, tt := range []struct{ want, args string }{
		{"Powering off.", ""},
		{"Deactivated successfully", ""},
		{"Journal stopped", "--inside"},
	} {
		if got := run(t, append([]string{"machctl", "logs", name}, strings.Fields(tt.args)...)...); !strings.Contains(got, tt.want) {
			t.Errorf("logs %s of what has ended do not say %q:\n%s", tt.args, tt.want, got)
		}
	}
	if o := observe(t, "machctl", "logs", "logs-nobody"); o.Code != 3 {
		t.Errorf("logs of nobody: %+v", o)
	}
}

// The log of the last attempt is shown, although there was no machine.
func TestMachdLogsOfAFailedStart(t *testing.T) {
	t.Parallel()
	const name = "logs-failed"
	copyImage(t, "tiny", name)
	run(t, "systemd-run", "-q", "--collect", "--unit="+transientOf(name), "sh", "-c", "echo there is no disk; exit 7")
	eventually(t, "its words are there", func() error {
		if o := observe(t, "machctl", "logs", name); !strings.Contains(o.Stdout, "there is no disk") || !strings.Contains(o.Stdout, "status=7") {
			return fmt.Errorf("%+v", o)
		}
		return nil
	})
}

// What is there to clean up after a machine, mostly nothing, is no error in its log.
func TestMachdLogsOfWhatHasEnded(t *testing.T) {
	t.Parallel()
	const clean, broken = "logs-clean", "logs-broken"
	copyImage(t, "c8-ns", clean)
	run(t, "machctl", "start", clean)
	run(t, "machctl", "stop", clean)
	copyImage(t, "tiny", broken)
	observe(t, "machctl", "start", broken, "--no-boot", "--", "/no/such")
	for _, name := range []string{clean, broken} {
		var log string
		eventually(t, "its unit's last words are there", func() error {
			if log = observe(t, "machctl", "logs", name).Stdout; !strings.Contains(log, "Deactivated successfully") && !strings.Contains(log, "Failed with result") {
				return errors.New(log)
			}
			return nil
		})
		if strings.Contains(log, "mount[") {
			t.Errorf("something was to be unmounted:\n%s", log)
		}
	}
}

func TestMachdEvents(t *testing.T) {
	t.Parallel()
	const name, broken = "events-guest", "events-broken"
	copyImage(t, "c8-ns", name)
	root := copyImage(t, "tiny", broken)
	must(t, os.Remove(root+"/usr/sbin/init"))
	must(t, os.WriteFile(root+"/usr/sbin/init", []byte("#!/bin/sh\nexit 7\n"), 0o755))
	events := exec.Command("machctl", "events", "--all", "-o", "json")
	out, err := events.StdoutPipe()
	must(t, err)
	must(t, events.Start())
	t.Cleanup(func() { events.Process.Kill(); events.Wait() })
	defer time.AfterFunc(patience, func() { events.Process.Kill() }).Stop()
	decoder := json.NewDecoder(out)
	next := func(machines ...string) string {
		t.Helper()
		for {
			var e struct {
				Event, Machine, Unit, Reason string
			}
			must(t, decoder.Decode(&e))
			for _, m := range machines {
				if e.Machine == m {
					if e.Unit != "" && e.Reason == "" {
						t.Errorf("no reason: %+v", e)
					}
					return strings.TrimSpace(e.Event + " " + e.Machine + " " + e.Unit)
				}
			}
		}
	}
	if got := next(".host"); got != "present .host" {
		t.Errorf("first %s", got)
	}
	want := func(machine string, events ...string) {
		t.Helper()
		for _, e := range events {
			if got := next(machine); got != e {
				t.Errorf("%s, want %s", got, e)
			}
		}
	}
	run(t, "machctl", "start", name)
	want(name, "new "+name, "ready "+name)
	run(t, "machctl", "stop", name)
	want(name, "removed "+name)
	if o := observe(t, "machctl", "start", broken); o.Code != 1 {
		t.Errorf("%+v", o)
	}
	want(broken, "new "+broken, "removed "+broken, "failed "+broken+" "+transientOf(broken))
}

// Numbers of a machine that keeps a processor busy, whoever started it and
// whoever asks.
func TestMachdTop(t *testing.T) {
	t.Parallel()
	const name = "top-busy"
	w := watch(t)
	runContainer(t, w, name, "while :; do :; done")
	type row struct {
		Machine string
		CPU     *float64 `json:"cpu_percent"`
		Tasks   *float64
	}
	of := func(t *testing.T, text string) row {
		t.Helper()
		var rows []row
		must(t, json.Unmarshal([]byte(text), &rows))
		for _, r := range rows {
			if r.Machine == name {
				return r
			}
		}
		t.Fatalf("it is not among %s", text)
		return row{}
	}
	// The host has other things to do as well.
	eventually(t, "it takes a processor", func() error {
		o := observeAs(t, "alice", "machctl", "top", "-o", "json")
		if o.Code != 0 {
			return fmt.Errorf("%+v", o)
		}
		r := of(t, o.Stdout)
		if r.CPU == nil || *r.CPU < 5 || *r.CPU > 150 || r.Tasks == nil || *r.Tasks < 1 || *r.Tasks > 5 {
			return fmt.Errorf("%s", o.Stdout)
		}
		return nil
	})
	if got := run(t, "machctl", "top", "--iterations=2", "--delay=100ms"); strings.Count(got, "\n"+name) != 2 {
		t.Errorf("two tables:\n%s", got)
	}

	screen := openTerminal(t, "machctl", "top", "--delay=100ms")
	talk(t, screen, [2]string{`top-busy`, "m"}, [2]string{`MEMORY.?▼|MEMORYv`, "q"})
	must(t, screen.Wait())

	o := observe(t, "varlinkctl", "call", "/run/systemd/machine/io.systemd.Machine", "org.machd.Machine.ListUsage", "{}")
	var answer struct {
		Machines []struct {
			Name    string
			CPUUsec uint64 `json:"cpuUsec"`
		}
	}
	if err := json.Unmarshal([]byte(o.Stdout), &answer); err != nil {
		t.Fatalf("%v: %+v", err, o)
	}
	for _, m := range answer.Machines {
		if m.Name == name && m.CPUUsec > 0 {
			return
		}
	}
	t.Errorf("over Varlink: %s", o.Stdout)
}

// A machine in a part of a unit is that part.
func TestMachdUsageOfASubgroup(t *testing.T) {
	t.Parallel()
	const name = "usage-part"
	w := watch(t)
	script := `c=/sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup); mkdir $c/part $c/rest; ` +
		`sleep infinity & echo $! > $c/part/cgroup.procs; echo $! > /run/usage-part.pid; ` +
		`for i in 1 2 3; do sleep infinity & echo $! > $c/rest/cgroup.procs; done; echo $$ > $c/rest/cgroup.procs; touch /run/usage-part.done; wait`
	run(t, "systemd-run", "-q", "--collect", "--unit=usage-part", "-p", "Delegate=yes", "sh", "-c", script)
	t.Cleanup(func() {
		observe(t, "systemctl", "stop", "usage-part")
		os.Remove("/run/usage-part.pid")
		os.Remove("/run/usage-part.done")
	})
	var leader int
	eventually(t, "its processes are there", func() error {
		if _, err := os.Stat("/run/usage-part.done"); err != nil {
			return err
		}
		text, err := os.ReadFile("/run/usage-part.pid")
		if err != nil {
			return err
		}
		_, err = fmt.Sscan(string(text), &leader)
		return err
	})
	register(t, w, name, process{pid: leader})
	var machines map[string]map[string]dbus.Variant
	conn, err := dbus.ConnectSystemBus()
	must(t, err)
	defer conn.Close()
	must(t, conn.Object("org.freedesktop.machine1", "/org/freedesktop/machine1").Call("org.machd.Manager1.ListUsage", 0).Store(&machines))
	if got := machines[name]["tasks"].Value(); got != uint64(1) {
		t.Errorf("it has %v tasks: %v", got, machines[name])
	}
}

func TestMachdMetrics(t *testing.T) {
	t.Parallel()
	const name = "metrics-one"
	w := watch(t)
	register(t, w, name, startProcess(t, name))
	socket := "/run/machd/metrics.sock"
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	time.Sleep(200 * time.Millisecond) // as old as numbers may be
	r, err := client.Get("http://machd/metrics")
	must(t, err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	must(t, err)
	for _, want := range []string{
		`machd_machine_info{machine="` + name + `",class="container",service="tester",unit="` + name + `-process.service"} 1` + "\n",
		`machd_machine_cpu_seconds_total{machine="` + name + `"} `,
		`machd_machine_tasks{machine="` + name + `"} 1` + "\n",
	} {
		if !strings.Contains(string(body), want) {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
	if !strings.HasSuffix(string(body), "\n# EOF\n") {
		t.Error("it has no end")
	}
	get := `import socket; s = socket.socket(socket.AF_UNIX); s.connect("` + socket + `"); ` +
		`s.sendall(b"GET /metrics HTTP/1.0\r\n\r\n"); print(s.makefile().readline())`
	if o := observeAs(t, "alice", "python3", "-c", get); !strings.Contains(o.Stdout, "200 OK") {
		t.Errorf("to users: %+v", o)
	}
}
