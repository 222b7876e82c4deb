package booted

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/pkg/machine1"
)

// execByVarlink is a client as people write it: it runs a command, writes to it,
// sends it a signal perhaps, and tells what it wrote and how it ended.
const execByVarlink = `
import json, os, socket, sys
path, parameters, text, signal = sys.argv[1:]
c = socket.socket(socket.AF_UNIX)
c.connect(path)
c.sendall(json.dumps({"method": "org.machd.Machine.Exec", "parameters": json.loads(parameters)}).encode() + b"\0")
reply, fds, _, _ = socket.recv_fds(c, 65536, 8)
reply = json.loads(reply.rstrip(b"\0"))
if "error" in reply:
    print(json.dumps({"error": reply["error"] + ": " + reply["parameters"]["reason"]}))
    sys.exit()
fd = {k.removesuffix("FileDescriptor"): fds[v] for k, v in reply["parameters"].items() if k != "unit"}
session = socket.socket(fileno=fd["session"])
def everything(fd):
    data = b""
    try:
        while part := os.read(fd, 65536):
            data += part
    except OSError: # what a terminal says when nobody has it open any more
        pass
    return data.decode()
if "terminal" in fd:
    os.write(fd["terminal"], text.encode())
    out, err = everything(fd["terminal"]), None
else:
    os.write(fd["stdin"], text.encode())
    os.close(fd["stdin"])
    if int(signal):
        os.read(fd["stdout"], 1)
        session.send(json.dumps({"signal": int(signal)}).encode())
    out, err = everything(fd["stdout"]), everything(fd["stderr"])
print(json.dumps({"out": out, "err": err, "outcome": json.loads(session.recv(4096)), "end": session.recv(1).decode()}))
`

// Whoever speaks Varlink gets a command's streams apart, its end, and may send it
// signals, in every kind of machine.
func TestMachdExecOverVarlink(t *testing.T) {
	t.Parallel()
	type answer struct {
		Error    string         `json:"error"`
		Out, Err string         `json:",omitempty"`
		Outcome  map[string]any `json:"outcome"`
	}
	for name, start := range map[string]func(*testing.T, string){"vl-exec-systemd": startGuest, "vl-exec-bare": startBare()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start(t, name)
			for _, trial := range []struct {
				what, options, text string
				signal              int
				want                answer
			}{
				{"streams", `"arguments":["sh","-c","cat; echo oh >&2; exit 7"]`, "typed", 0,
					answer{Out: "typed", Err: "oh\n", Outcome: map[string]any{"exit": 7.}}},
				{"words, place and variables", `"arguments":["sh","-c","echo $1 $WORD; pwd","sh","$$ a"],"directory":"/tmp","environment":["WORD=x","WORD=y"]`, "", 0,
					answer{Out: "$$ a y\n/tmp\n", Outcome: map[string]any{"exit": 0.}}},
				{"a signal", `"arguments":["sh","-c","trap 'echo got it; exit 3' INT; echo ready; while :; do sleep 0.1; done"]`, "", 2,
					answer{Out: "eady\ngot it\n", Outcome: map[string]any{"exit": 3.}}},
				{"a signal that kills", `"arguments":["sh","-c","echo ready; exec sleep 60"]`, "", 9,
					answer{Out: "eady\n", Outcome: map[string]any{"signal": 9.}}},
				{"a terminal", `"arguments":["sh","-c","read x; stty size; exit 4"],"terminal":true,"rows":24,"columns":81`, "typed\n", 0,
					answer{Out: "typed\r\n24 81\r\n", Outcome: map[string]any{"exit": 4.}}},
				{"no such program", `"arguments":["nosuchprogram"]`, "", 0,
					answer{Outcome: map[string]any{"failure": "not-found", "message": fmt.Sprintf(`Cannot run "nosuchprogram" in machine %s: there is no such program`, name)}}},
				{"no program at all", `"arguments":[]`, "", 0, answer{Error: "org.machd.Machine.Failed: There is no command to run"}},
			} {
				o := observe(t, "python3", "-c", execByVarlink, machine1.VarlinkSocket,
					fmt.Sprintf(`{"name":%q,%s}`, name, trial.options), trial.text, fmt.Sprint(trial.signal))
				var got answer
				if err := json.Unmarshal([]byte(o.Stdout), &got); err != nil {
					t.Errorf("%s: %v: %+v", trial.what, err, o)
				} else if diff := cmp.Diff(trial.want, got); diff != "" {
					t.Errorf("%s: -want +got:\n%s", trial.what, diff)
				}
			}
		})
	}
}
