package booted

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	machd1 "github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/test/live"
)

// A varlinkQuestion is what polkit is asked before a call on Varlink, and the
// call.
type varlinkQuestion struct {
	Action  string
	Details map[string]string

	method, parameters string
}

// varlinkQuestions are about a machine, which ends with the last but one, and an
// image, which goes with the last.
func varlinkQuestions(name, image string) []varlinkQuestion {
	const of, ofImage = "io.systemd.Machine.", "io.systemd.MachineImage."
	const manage, images = machine1.ActionManageMachines, machine1.ActionManageImages
	details := func(pairs ...string) map[string]string {
		all := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			all[pairs[i]] = pairs[i+1]
		}
		return all
	}
	in := func(more string) string { return fmt.Sprintf(`{"name":%q%s}`, name, more) }
	inImage := func(more string) string { return fmt.Sprintf(`{"name":%q%s}`, image, more) }
	files := func(machine, verb string) map[string]string {
		return details(machine, name, "verb", verb, "src", "/no/such/source", "dest", "/no/such/place")
	}
	const paths = `,"source":"/no/such/source","destination":"/no/such/place"`
	list := []varlinkQuestion{
		{manage, details("name", name, "verb", "kill"), of + "Kill", in(`,"whom":"leader","signal":18`)},
		{machine1.ActionInspectMachines, details("name", name), of + "List", in(`,"acquireMetadata":"graceful"`)},
		{machine1.ActionOpenPTY, details("machine", name), of + "Open", in(`,"mode":"tty"`)},
		{machine1.ActionLogin, details("machine", name, "verb", "login"), of + "Open", in(`,"mode":"login"`)},
		{machine1.ActionShell, details("machine", name, "verb", "shell", "user", "nobody", "program", "/bin/echo", "command_line", "echo a b"),
			of + "Open", in(`,"mode":"shell","user":"nobody","path":"/bin/echo","args":["echo","a b"],"environment":["A=b"]`)},
		{machine1.ActionHostShell, details("machine", ".host", "verb", "shell", "user", "nobody", "program", "/bin/true", "command_line", "/bin/true"),
			of + "Open", `{"name":".host","mode":"shell","user":"nobody","path":"/bin/true"}`},
		{machine1.ActionHostOpenPTY, details("machine", ".host"), of + "Open", `{"name":".host","mode":"tty"}`},
		{manage, files("name", "bind"), of + "BindMount", in(paths)},
		{manage, files("name", "copy"), of + "CopyFrom", in(paths)},
		{manage, files("name", "copy"), of + "CopyTo", in(paths + `,"replace":true`)},
		{manage, details("name", name, "verb", "open_root_directory"), of + "OpenRootDirectory", in("")},
		{machine1.ActionInspectImages, details("name", image), ofImage + "List", inImage(`,"acquireMetadata":"graceful"`)},
		{images, details("image", image, "verb", "update"), ofImage + "Update", inImage(`,"readOnly":false`)},
		{images, details("image", image, "verb", "clone", "new_name", image+"-clone"), ofImage + "Clone", inImage(`,"newName":"` + image + `-clone"`)},
	}
	if live.Host.Machd {
		const own = machd1.MachineVarlink + "."
		list = append(list,
			varlinkQuestion{machd1.ActionBind, files("machine", "bind"), own + "BindMount", in(paths)},
			varlinkQuestion{machd1.ActionBind, details("machine", name, "verb", "unbind", "dest", "/no/such/place"), own + "Unbind", in(`,"destination":"/no/such/place"`)},
			varlinkQuestion{machd1.ActionCopy, files("machine", "copy_from"), own + "CopyFrom", in(paths)},
			varlinkQuestion{machd1.ActionCopy, files("machine", "copy_to"), own + "CopyTo", in(paths)},
			varlinkQuestion{machd1.ActionManageImages, details("image", image+"-clone", "verb", "remove", "settings", "0"),
				machd1.MachineImageVarlink + ".Remove", `{"name":"` + image + `-clone"}`})
	}
	return append(list,
		varlinkQuestion{manage, details("name", name, "verb", "terminate"), of + "Terminate", in("")},
		varlinkQuestion{images, details("image", image, "verb", "remove"), ofImage + "Remove", inImage("")})
}

// The details are what rules of administrators look at. Without a rule all is
// refused, at once, whether the caller could wait for a password or not.
func TestNewPolkitIsAskedWithTheseDetailsOnVarlink(t *testing.T) {
	const name, image = "details-varlink", "details-varlink-image"
	w := watch(t)
	register(t, w, name, startProcess(t, name))
	must(t, os.MkdirAll(guests+"/"+image+"/etc", 0o755))
	t.Cleanup(func() { run(t, "rm", "-rf", guests+"/"+image, guests+"/"+image+"-clone") })
	questions := varlinkQuestions(name, image)
	for _, allowed := range []bool{false, true} {
		wanted := []varlinkQuestion{}
		if allowed {
			wanted = questions
		}
		list, err := json.Marshal(wanted)
		must(t, err)
		setRules(t, fmt.Sprintf(exactRules, list))
		for _, q := range questions {
			if q.method == machd1.MachineImageVarlink+".Remove" && !allowed {
				continue // the clone is not there, and missed before anybody is asked
			}
			start := time.Now()
			_, err := varlinkCall(t, "alice", q.method, q.parameters)
			if isRefused := err != nil && slices.Contains(varlinkRefusals, err.Error()); isRefused == allowed {
				t.Errorf("%s %s, allowed %v: %v", q.method, q.parameters, allowed, err)
			}
			if took := time.Since(start); !allowed && took > 5*time.Second {
				t.Errorf("%s: refused after %s", q.method, took)
			}
		}
	}
	w.await(t, "MachineRemoved", name)
	if _, err := os.Stat(guests + "/" + image); err == nil {
		t.Error("the image is there")
	}
}

// Where nobody can be asked for a password, who allows asking does not wait.
func TestNewPolkitWithoutAgentRefusesAtOnceOnVarlink(t *testing.T) {
	w := watch(t)
	register(t, w, "agentless-varlink", startProcess(t, "agentless-varlink"))
	for _, interactive := range []bool{false, true} {
		start := time.Now()
		_, err := varlinkCall(t, "alice", "io.systemd.Machine.Terminate",
			fmt.Sprintf(`{"name":"agentless-varlink","allowInteractiveAuthentication":%v}`, interactive))
		if took := time.Since(start); err == nil || !slices.Contains(varlinkRefusals, err.Error()) || took > 5*time.Second {
			t.Errorf("interactive %v: after %s: %v", interactive, took, err)
		}
	}
	must(t, w.call(t, "GetMachine", []any{"agentless-varlink"}))
}
