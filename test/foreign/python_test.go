package foreign

import (
	"strings"
	"testing"

	"github.com/machd/machd/test/live"
)

// byDBus asks for everything as people's programs do, with an empty interface.
const byDBus = `
import sys, dbus
bus = dbus.SystemBus()
manager = dbus.Interface(bus.get_object("org.freedesktop.machine1", "/org/freedesktop/machine1"), "org.freedesktop.machine1.Manager")
path = manager.GetMachine(sys.argv[1])
values = bus.get_object("org.freedesktop.machine1", path).GetAll("", dbus_interface="org.freedesktop.DBus.Properties")
kinds = dict(Name="String", Id="Array", Timestamp="UInt64", TimestampMonotonic="UInt64", Service="String", Unit="String",
             Leader="UInt32", Class="String", RootDirectory="String", NetworkInterfaces="Array", State="String")
for key, kind in kinds.items():
    assert type(values[key]).__name__ == kind, (key, type(values[key]))
assert len(values["Id"]) == 16
assert manager.GetMachineByPID(values["Leader"]) == path
for member, arg, error in (("GetMachine", "nobody", "NoSuchMachine"), ("GetImage", "nobody", "NoSuchImage"),
                           ("GetMachineByPID", dbus.UInt32(1), "NoMachineForPID")):
    try:
        getattr(manager, member)(arg)
        raise SystemExit(member + " did not fail")
    except dbus.DBusException as e:
        assert e.get_dbus_name() == "org.freedesktop.machine1." + error, e
print("good")
`

// byLibrary asks libsystemd, which reads the state files.
const byLibrary = `
import sys, ctypes
lib = ctypes.CDLL("libsystemd.so.0")
def text(call, *args):
    p = ctypes.c_char_p()
    r = call(*args, ctypes.byref(p))
    assert r >= 0, r
    return p.value.decode()
name, leader, of_process = sys.argv[1], int(sys.argv[2]), sys.argv[3]
assert of_process == "-" or text(lib.sd_pid_get_machine_name, leader) == of_process
assert text(lib.sd_machine_get_class, name.encode()) == "container"
names = ctypes.POINTER(ctypes.c_char_p)()
n = lib.sd_get_machine_names(ctypes.byref(names))
assert name in [names[i].decode() for i in range(n)]
monitor = ctypes.c_void_p()
assert lib.sd_login_monitor_new(b"machine", ctypes.byref(monitor)) >= 0
import select, subprocess
poll = select.poll()
poll.register(lib.sd_login_monitor_get_fd(monitor), select.POLLIN)
while poll.poll(0): # other machines come and go
    assert lib.sd_login_monitor_flush(monitor) >= 0
subprocess.run(["machinectl", "terminate", name], check=True)
assert poll.poll(30000), "the monitor did not wake up"
print("good")
`

func TestPythonPrograms(t *testing.T) {
	t.Parallel()
	const name = "snake"
	startGuest(t, name)
	leader := live.Run(t, "machinectl", "show", name, "-P", "Leader")
	for _, script := range []string{byDBus, byLibrary} {
		if got := live.Observe(t, "python3", "-c", script, name, leader, ofProcess(name)); strings.TrimSpace(got.Stdout) != "good" {
			t.Errorf("exit status %d\n%s%s", got.Code, got.Stdout, got.Stderr)
		}
	}
}
