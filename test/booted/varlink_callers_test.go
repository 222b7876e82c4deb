package booted

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/pkg/machine1"
)

// varlinkctl makes one call as people type it.
func varlinkctl(t *testing.T, method, parameters string, options ...string) outcome {
	t.Helper()
	argv := append([]string{"varlinkctl", "call", "--json=short"}, options...)
	return observe(t, append(argv, machine1.VarlinkSocket, "io.systemd.Machine."+method, parameters)...)
}

// records decodes what varlinkctl printed, one answer a line or one after the
// other.
func records(t *testing.T, o outcome) []map[string]any {
	t.Helper()
	if o.Code != 0 {
		t.Fatalf("varlinkctl failed: %s", o.Stderr)
	}
	var all []map[string]any
	in := json.NewDecoder(strings.NewReader(strings.ReplaceAll(o.Stdout, "\x1e", "")))
	for in.More() {
		var r map[string]any
		must(t, in.Decode(&r))
		all = append(all, r)
	}
	return all
}

// A machine that a Varlink caller registers is one like any other.
func TestVarlinkRegisterAndUnregister(t *testing.T) {
	t.Parallel()
	const name = "vl-registered"
	p, other := startProcess(t, name), startProcess(t, name+"-other")
	w := watch(t)
	registration := func(p process) string {
		return fmt.Sprintf(`{"name":%q,"class":"container","leader":%d,"service":"tester","rootDirectory":"/srv","id":"11111111-2222-3333-4444-555555555555"}`,
			name, p.pid)
	}
	records(t, varlinkctl(t, "Register", registration(p)))
	w.await(t, "MachineNew", name)
	before := records(t, varlinkctl(t, "List", `{"name":"`+name+`"}`))
	if len(before) != 1 {
		t.Fatalf("List has %d records", len(before))
	}
	r := before[0]
	leader := r["leader"].(map[string]any)
	if r["name"] != name || r["id"] != "11111111222233334444555555555555" || r["class"] != "container" || r["service"] != "tester" ||
		r["rootDirectory"] != "/srv" || r["unit"] != p.unit || leader["pid"] != float64(p.pid) {
		t.Errorf("it is shown as %v", r)
	}
	if stamp := r["timestamp"].(map[string]any); stamp["realtime"] == nil || stamp["monotonic"] == nil {
		t.Errorf("the timestamp is %v", stamp)
	}

	if o := varlinkctl(t, "Register", registration(other)); o.Code == 0 || !strings.Contains(o.Stderr, "io.systemd.Machine.MachineExists") {
		t.Errorf("registering it again: %+v", o)
	}
	after := records(t, varlinkctl(t, "List", fmt.Sprintf(`{"pid":{"pid":%d}}`, p.pid)))
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the first one has changed:\n%s", diff)
	}

	records(t, varlinkctl(t, "Unregister", `{"name":"`+name+`"}`))
	w.await(t, "MachineRemoved", name)
	must(t, unitIs(t, p.unit, "active")())
	// systemd-machined says that it is removed before it forgets it.
	eventually(t, "it is listed no more", func() error {
		if o := varlinkctl(t, "List", `{"name":"`+name+`"}`); o.Code == 0 || !strings.Contains(o.Stderr, "io.systemd.Machine.NoSuchMachine") {
			return fmt.Errorf("%+v", o)
		}
		return nil
	})
}

func TestVarlinkListsAll(t *testing.T) {
	t.Parallel()
	const name = "vl-listed"
	w := watch(t)
	register(t, w, name, startProcess(t, name))
	var names []string
	for _, r := range records(t, varlinkctl(t, "List", "{}", "--more")) {
		names = append(names, r["name"].(string))
	}
	for _, want := range []string{machine1.Host, name} {
		if !strings.Contains(fmt.Sprint(names), want) {
			t.Errorf("%q lacks %s", names, want)
		}
	}
}

func TestVarlinkKillAndTerminate(t *testing.T) {
	t.Parallel()
	const name = "vl-ended"
	w := watch(t)
	p := startProcess(t, name)
	register(t, w, name, p)
	status := func() string {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
		must(t, err)
		return strings.Fields(string(text))[2]
	}
	// SIGSTOP and SIGCONT, which show.
	for _, kill := range []struct{ how, want string }{
		{`"whom":"leader","signal":19`, "T"}, {`"whom":"all","signal":18`, "S"}, {`"signal":19`, "T"}, {`"whom":"leader","signal":18`, "S"},
	} {
		records(t, varlinkctl(t, "Kill", `{"name":"`+name+`",`+kill.how+`}`))
		eventually(t, "the signal has come", func() error {
			if got := status(); got != kill.want {
				return fmt.Errorf("it is %s", got)
			}
			return nil
		})
	}
	for _, wrong := range []string{`"signal":0`, `"signal":"SIGNOTHING"`, `"whom":"nobody","signal":18`, `"signal":18,"bogus":1`} {
		if o := varlinkctl(t, "Kill", `{"name":"`+name+`",`+wrong+`}`); o.Code == 0 || !strings.Contains(o.Stderr, "Invalid") {
			t.Errorf("%s: %+v", wrong, o)
		}
	}
	records(t, varlinkctl(t, "Terminate", fmt.Sprintf(`{"pid":{"pid":%d}}`, p.pid)))
	w.await(t, "MachineRemoved", name)
	eventually(t, "the unit is stopped", unitIs(t, p.unit, "inactive"))
}

// Somebody who names no process is it himself, as the kernel tells it.
func TestVarlinkCallerIsTheLeader(t *testing.T) {
	t.Parallel()
	const name = "vl-self"
	w := watch(t)
	const unit = name + ".service"
	run(t, "systemd-run", "-q", "--collect", "--slice=machine.slice", "--unit="+unit, "python3", "-c", `
import os, socket, time
c = socket.socket(socket.AF_UNIX)
c.connect("`+machine1.VarlinkSocket+`")
c.sendall(b'{"method":"io.systemd.Machine.Register","parameters":{"name":"`+name+`","class":"container"}}\0')
c.recv(4096)
c.sendall(b'{"method":"io.systemd.Machine.List","parameters":{"pid":{"pid":0}}}\0')
print(c.recv(4096).decode().rstrip("\0"), flush=True)
time.sleep(1000)`)
	t.Cleanup(func() { observe(t, "systemctl", "stop", unit) })
	w.await(t, "MachineNew", name)
	if leader, main := w.properties(t, name)["Leader"], run(t, "systemctl", "show", "-P", "MainPID", unit); fmt.Sprint(leader) != main {
		t.Errorf("the leader is %v, the process %s", leader, main)
	}
	eventually(t, "it has found itself", func() error {
		if text := run(t, "journalctl", "-u", unit, "-o", "cat"); !strings.Contains(text, `"name":"`+name+`"`) {
			return fmt.Errorf("it has got %q", text)
		}
		return nil
	})
}

// A connection that is used by others after its process has ended speaks for
// nobody.
func TestVarlinkCallerThatHasEnded(t *testing.T) {
	t.Parallel()
	text := run(t, "python3", "-c", `
import os, socket
a, b = socket.socketpair()
if os.fork() == 0:
    c = socket.socket(socket.AF_UNIX)
    c.connect("`+machine1.VarlinkSocket+`")
    socket.send_fds(a, [b"x"], [c.fileno()])
    os._exit(0)
_, fds, _, _ = socket.recv_fds(b, 1, 1)
os.wait()
c = socket.socket(fileno=fds[0])
c.sendall(b'{"method":"io.systemd.Machine.Register","parameters":{"name":"vl-nobody","class":"container"}}\0')
print(c.recv(4096).decode().rstrip("\0"))`)
	if !strings.Contains(text, `"error"`) {
		t.Errorf("registering in the name of a dead process: %s", text)
	}
	w := watch(t)
	if _, err := w.lookUp(t, "vl-nobody"); err == nil {
		t.Error("the dead process is a machine")
	}
}

func TestNewVarlinkMetadata(t *testing.T) {
	t.Parallel()
	const name = "vl-metadata"
	w := watch(t)
	p := startProcess(t, name, "--property=PrivateNetwork=yes", "--service-type=exec")
	run(t, "nsenter", "--net", "--target", strconv.Itoa(p.pid), "ip", "address", "add", "192.0.2.9/24", "dev", "lo")
	register(t, w, name, p)
	list := func(how string) (map[string]any, error) {
		return varlinkCall(t, "root", "io.systemd.Machine.List", `{"name":"`+name+`","acquireMetadata":"`+how+`"}`)
	}
	for _, how := range []string{"yes", "graceful"} {
		r, err := list(how)
		must(t, err)
		if r["UIDShift"] != 0.0 || !strings.Contains(fmt.Sprint(r["OSRelease"]), "ID=debian") ||
			!strings.Contains(fmt.Sprint(r["addresses"]), "[192 0 2 9]") {
			t.Errorf("%s: %v", how, r)
		}
	}
	r, err := list("no")
	must(t, err)
	for _, key := range []string{"UIDShift", "OSRelease", "addresses"} {
		if r[key] != nil {
			t.Errorf("%s is told unasked: %v", key, r[key])
		}
	}
}
