package foreign

import (
	"strconv"
	"strings"
	"testing"

	"github.com/machd/machd/test/live"
)

// asVMSpawn registers as systemd-vmspawn does, with a process in qemu's place:
// that of 257 is the leader itself and names none, that of 262 names its child
// and stays where it is.
const asVMSpawn = `
import sys, json, os, socket, subprocess, time
name, version = sys.argv[1], int(sys.argv[2])
s = socket.socket(socket.AF_UNIX)
s.connect("/run/systemd/machine/io.systemd.Machine")
def call(method, **parameters):
    s.sendall(json.dumps(dict(method=method, parameters=parameters)).encode() + b"\0")
    answer = b""
    while not answer.endswith(b"\0"):
        answer += s.recv(65536)
    return json.loads(answer[:-1])
def run(*argv):
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
def show(key):
    return run("machinectl", "show", name, "-P", key)
vm = dict(name=name, id="0123456789abcdef0123456789abcdef", service="systemd-vmspawn", vSockCid=4711,
          sshAddress="vsock/4711", sshPrivateKeyPath="/run/key", rootDirectory="/var/lib/machines/tiny", allocateUnit=True)
vm["class"] = "vm"
qemu, own = subprocess.Popen(["sleep", "infinity"]), os.getpid()
leader = own
if version >= 262:
    leader = qemu.pid
    vm.update(leaderProcessId=dict(pid=leader), controlAddress="/run/control")
def done(answer):
    assert "error" not in answer and not answer.get("parameters"), answer
done(call("io.systemd.Machine.Register", **vm))
again = call("io.systemd.Machine.Register", **vm)
assert again["error"] == "io.systemd.Machine.MachineExists", again
for _ in range(100):
    if "machine-" in open("/proc/%d/cgroup" % leader).read():
        break
    time.sleep(0.1)
want = dict(Name=name, Class="vm", Service="systemd-vmspawn", Leader=str(leader), Unit="machine-" + name.replace("-", "\\x2d") + ".scope",
            RootDirectory="/var/lib/machines/tiny", VSockCID="4711", SSHAddress="vsock/4711", SSHPrivateKeyPath="/run/key", State="running")
got = {key: show(key) for key in want}
assert got == want, got
info = run("busctl", "call", "org.freedesktop.machine1", "/org/freedesktop/machine1", "org.freedesktop.machine1.Manager", "GetMachineSSHInfo", "s", name)
assert info == 'ss "vsock/4711" "/run/key"', info
assert name in run("machinectl", "list", "--no-legend")
if version >= 262:
    assert show("Supervisor") == str(own), show("Supervisor")
    record = call("io.systemd.Machine.List", name=name)["parameters"]
    assert record["controlAddress"] == "/run/control" and record["vSockCid"] == 4711, record
    assert "machine-" not in open("/proc/self/cgroup").read()
    done(call("io.systemd.Machine.Unregister", name=name))
else:
    run("busctl", "call", "org.freedesktop.machine1", "/org/freedesktop/machine1", "org.freedesktop.machine1.Manager", "UnregisterMachine", "s", name)
assert subprocess.run(["machinectl", "show", name], capture_output=True).returncode == 1
qemu.kill()
print("good")
`

// TestRegistrationOfVMSpawn stands in for the program: it needs a kernel and
// qemu to get as far as its registration.
func TestRegistrationOfVMSpawn(t *testing.T) {
	t.Parallel()
	version := strconv.Itoa(live.Host.Version)
	got := live.Observe(t, "systemd-run", "-q", "--wait", "-P", "python3", "-c", asVMSpawn, "vm-spawned", version)
	if got.Code != 0 || strings.TrimSpace(got.Stdout) != "good" {
		t.Errorf("exit status %d\n%s%s", got.Code, got.Stdout, got.Stderr)
	}
}
