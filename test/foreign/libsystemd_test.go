package foreign

import (
	"strings"
	"testing"

	"github.com/machd/machd/test/live"
)

// bySDBus asks as programs on libsystemd's own bus do (pystemd, C), in plain
// calls, and listens to whatever the manager says: a third kind of signal is an
// error to it. It computes object paths by itself.
const bySDBus = `
import sys, ctypes, re, subprocess, time
from ctypes import byref, c_char_p, c_void_p, c_int, c_uint32, c_uint64, c_size_t
lib = ctypes.CDLL("libsystemd.so.0")
bus = c_void_p()
assert lib.sd_bus_open_system(byref(bus)) >= 0
DEST, ROOT = b"org.freedesktop.machine1", "/org/freedesktop/machine1"

def escape(name):
    return "".join(c if c.isalnum() and not (i == 0 and c.isdigit()) else "_%02x" % ord(c) for i, c in enumerate(name))

def get(path, iface, prop, kind, c_type):
    reply, value = c_void_p(), c_type()
    r = lib.sd_bus_get_property(bus, DEST, path.encode(), iface, prop.encode(), None, byref(reply), kind)
    assert r >= 0, (prop, r)
    if kind == b"ay" or kind == b"ai":
        data, size = c_void_p(), c_size_t()
        assert lib.sd_bus_message_read_array(reply, ctypes.c_char(kind[1]), byref(data), byref(size)) >= 0, prop
        return size.value
    assert lib.sd_bus_message_read_basic(reply, ctypes.c_char(kind[0]), byref(value)) >= 0, prop
    return value.value

seen = []
HANDLER = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p)
lib.sd_bus_message_get_member.restype = c_char_p
lib.sd_bus_message_get_signature.restype = c_char_p
lib.sd_bus_message_get_path.restype = c_char_p

@HANDLER
def on_signal(message, data, error):
    m = c_void_p(message)
    first = c_char_p()
    member, sig = lib.sd_bus_message_get_member(m).decode(), lib.sd_bus_message_get_signature(m, 1).decode()
    assert lib.sd_bus_message_read_basic(m, ctypes.c_char(b"s"), byref(first)) >= 0
    seen.append((member, sig, lib.sd_bus_message_get_path(m).decode(), first.value.decode()))
    return 0

assert lib.sd_bus_add_match(bus, None, b"type='signal',interface='org.freedesktop.machine1.Manager'", on_signal, None) >= 0

def settle(seconds):
    end = time.time() + seconds
    while time.time() < end:
        if lib.sd_bus_process(bus, None) == 0:
            lib.sd_bus_wait(bus, c_uint64(50000))

name = sys.argv[1]
subprocess.run(["machinectl", "start", name], check=True)
path = ROOT + "/machine/" + escape(name)
machine = b"org.freedesktop.machine1.Machine"
types = dict(Name=(b"s", c_char_p), Id=(b"ay", c_void_p), Timestamp=(b"t", c_uint64), TimestampMonotonic=(b"t", c_uint64),
             Service=(b"s", c_char_p), Unit=(b"s", c_char_p), Leader=(b"u", c_uint32), Class=(b"s", c_char_p),
             RootDirectory=(b"s", c_char_p), NetworkInterfaces=(b"ai", c_void_p), State=(b"s", c_char_p))
values = {key: get(path, machine, key, kind, c_type) for key, (kind, c_type) in types.items()}
assert values["Name"] == name.encode() and values["Id"] == 16 and values["State"] == b"running", values
image = ROOT + "/image/" + escape(name)
assert get(image, b"org.freedesktop.machine1.Image", "Name", b"s", c_char_p) == name.encode()
assert get(image, b"org.freedesktop.machine1.Image", "Type", b"s", c_char_p) == b"directory"
subprocess.run(["machinectl", "shell", name, "/bin/true"], check=True, stdout=subprocess.DEVNULL)
subprocess.run(["machinectl", "terminate", name], check=True)
for _ in range(300):
    settle(0.1)
    if any(s[0] == "MachineRemoved" for s in seen):
        break
settle(0.5)
assert [s[0] for s in seen] == ["MachineNew", "MachineRemoved"], seen
assert all(sig == "so" and source == ROOT and first == name for _, sig, source, first in seen), seen
print("good")
`

// TestProgramsOnLibsystemd has a name whose path needs escaping.
func TestProgramsOnLibsystemd(t *testing.T) {
	const name = "15-snake.d"
	installGuest(t, name)
	if got := live.Observe(t, "python3", "-c", bySDBus, name); strings.TrimSpace(got.Stdout) != "good" {
		t.Errorf("exit status %d\n%s%s", got.Code, got.Stdout, got.Stderr)
	}
}
