package booted

import (
	"fmt"
	"strings"
	"testing"

	"github.com/machd/machd/pkg/machine1"
)

// openByVarlink is a client as people write it: it makes one call, takes the
// descriptor that comes along, and uses it: it lists a directory, or types words
// on a terminal, after the prompt that stands before "|", until it sees a text.
const openByVarlink = `
import json, os, select, socket, sys, time
path, method, parameters, words, until = sys.argv[1:]
c = socket.socket(socket.AF_UNIX)
c.connect(path)
c.sendall(json.dumps({"method": method, "parameters": json.loads(parameters)}).encode() + b"\0")
text, fds, _, _ = socket.recv_fds(c, 65536, 4)
reply = json.loads(text.rstrip(b"\0"))
if "error" in reply:
    sys.exit(reply["error"])
index = reply["parameters"].get("fileDescriptor", reply["parameters"].get("ptyFileDescriptor"))
fd = fds[index]
if "fileDescriptor" in reply["parameters"]:
    print(sorted(os.listdir(fd)))
    sys.exit()
print(reply["parameters"]["ptyPath"])
prompt, _, words = words.partition("|")
end, seen = time.time() + 30, b""
while time.time() < end and until.encode() not in seen:
    if words and prompt.encode() in seen:
        os.write(fd, words.encode() + b"\n")
        words = ""
    if not select.select([fd], [], [], 1)[0]:
        continue
    try:
        seen += os.read(fd, 4096)
    except OSError: # nobody has it open now
        time.sleep(0.01)
print(seen.decode())
`

func callForDescriptor(t *testing.T, user, method, parameters, words, until string) outcome {
	t.Helper()
	return observeAs(t, user, "python3", "-c", openByVarlink, machine1.VarlinkSocket, "io.systemd.Machine."+method, parameters, words, until)
}

// What Varlink opens comes along as a descriptor, which goes on working after
// the connection has ended.
func TestVarlinkOpensTerminals(t *testing.T) {
	t.Parallel()
	const name = "vl-opened"
	startGuest(t, name)
	for _, trial := range []struct{ what, parameters, words, want string }{
		{"a terminal alone", `"mode":"tty"`, "|echoed", "echoed"},
		{"a shell", `"mode":"shell","path":"/bin/sh","args":["sh","-c","echo ready; read x; echo $x-$WORD-$(id -un)"],"environment":["WORD=said"]`,
			"ready|typed", "typed-said-root"},
		{"a user's shell", `"mode":"shell","user":"nobody","path":"/bin/sh","args":["sh","-c","echo I am $(id -un)"]`, "", "I am nobody"},
		{"the user's own shell", `"mode":"shell"`, "# |echo $0 is $SHELL", "bash is /bin/bash"},
		{"a login prompt", `"mode":"login"`, "", name + " login:"},
	} {
		o := callForDescriptor(t, "root", "Open", fmt.Sprintf(`{"name":%q,%s}`, name, trial.parameters), trial.words, trial.want)
		if o.Code != 0 || !strings.HasPrefix(o.Stdout, "/dev/pts/") || !strings.Contains(o.Stdout, trial.want) {
			t.Errorf("%s: %+v", trial.what, o)
		}
	}
	for _, mode := range []string{"tty", "login", "shell"} {
		o := callForDescriptor(t, "alice", "Open", fmt.Sprintf(`{"name":%q,"mode":%q}`, name, mode), "", "")
		if o.Code != 1 || !strings.Contains(o.Stderr, "InteractiveAuthenticationRequired") && !strings.Contains(o.Stderr, "PermissionDenied") {
			t.Errorf("alice opens %s: %+v", mode, o)
		}
	}
}

func TestNewVarlinkOpensRootDirectories(t *testing.T) {
	t.Parallel()
	const name = "vl-root"
	w := watch(t)
	startByHand(t, w, name)
	if o := callForDescriptor(t, "root", "OpenRootDirectory", `{"name":"`+name+`"}`, "", ""); o.Code != 0 || !strings.Contains(o.Stdout, "'etc'") ||
		strings.Contains(o.Stdout, "'boot'") {
		t.Errorf("the root of a container without /boot: %+v", o)
	}
	if o := callForDescriptor(t, "root", "OpenRootDirectory", `{"name":".host"}`, "", ""); o.Code != 0 || !strings.Contains(o.Stdout, "'boot'") {
		t.Errorf("the host's root: %+v", o)
	}
	if o := callForDescriptor(t, "alice", "OpenRootDirectory", `{"name":"`+name+`"}`, "", ""); o.Code != 1 || o.Stdout != "" {
		t.Errorf("alice: %+v", o)
	}
}
