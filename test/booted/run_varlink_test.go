package booted

import (
	"testing"

	"github.com/machd/machd/pkg/machine1"
)

// runByVarlink is a client as people write it: it runs a machine, says a word to
// its command, and shows what that says and how it ends, and when nothing is
// left.
const runByVarlink = `
import json, os, socket, sys
c = socket.socket(socket.AF_UNIX)
c.connect(sys.argv[1])
c.sendall(json.dumps({"method": "org.machd.Machine.Run", "parameters": json.loads(sys.argv[2])}).encode() + b"\0")
text, fds, _, _ = socket.recv_fds(c, 65536, 8)
reply = json.loads(text.rstrip(b"\0"))
if "error" in reply:
    sys.exit(reply["error"] + " " + json.dumps(reply["parameters"]))
c.close()
p = reply["parameters"]
place = lambda what: fds[p[what + "FileDescriptor"]]
os.write(place("stdin"), b"said\n")
os.close(place("stdin"))
for stream in "stdout", "stderr":
    print(stream, os.fdopen(place(stream)).read().strip())
session = socket.socket(fileno=place("session"))
print(session.recv(4096).decode())
while session.recv(4096):
    pass
print("gone")
`

func TestMachdRunByVarlink(t *testing.T) {
	t.Parallel()
	const name = "run-varlink"
	for _, c := range []struct{ parameters, stdout, stderr string }{
		{`{"name":"` + name + `","image":"tiny","command":["sh","-c","cat; echo err >&2; exit 5"]}`,
			"stdout said\nstderr err\n{\"exit\":5}\ngone\n", ""},
		{`{"name":"` + name + `","image":"no-such","command":["true"]}`, "", "org.machd.MachineImage.NoSuchImage"},
		{`{"name":"` + name + `","image":"tiny","command":["true"],"memory":"0"}`, "", "org.machd.Machine.StartFailed"},
	} {
		out := observe(t, "python3", "-c", runByVarlink, machine1.VarlinkSocket, c.parameters)
		if out.Stdout != c.stdout || (out.Stderr == "") != (c.stderr == "") {
			t.Errorf("%s: got %+v", c.parameters, out)
		}
		wantNothingLeft(t, name)
	}
}
