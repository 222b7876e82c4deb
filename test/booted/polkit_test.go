package booted

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/bus"
	machd1 "github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/test/live"
)

const rulesFile = "/etc/polkit-1/rules.d/10-booted-test.rules"

// setRules gives polkit more rules until the test's end.
func setRules(t *testing.T, rules string) {
	t.Helper()
	must(t, os.WriteFile(rulesFile, []byte(rules), 0o644))
	restartPolkit(t)
	t.Cleanup(func() {
		os.Remove(rulesFile)
		restartPolkit(t)
	})
}

func restartPolkit(t *testing.T) {
	t.Helper()
	observe(t, "systemctl", "reset-failed", "polkit.service") // it has been started a few times
	run(t, "systemctl", "restart", "polkit.service")
}

// dialAs connects a user to the bus until the test's end.
func dialAs(t *testing.T, user string) *dbus.Conn {
	t.Helper()
	return dialBusAs(t, user, "/run/dbus/system_bus_socket")
}

func dialBusAs(t *testing.T, user, socket string) *dbus.Conn {
	t.Helper()
	var conn *dbus.Conn
	var err error
	uid := uidOf(t, user)
	as(t, user, func() {
		if conn, err = dbus.Dial("unix:path=" + socket); err == nil {
			err = errors.Join(conn.Auth([]dbus.Auth{dbus.AuthExternal(fmt.Sprint(uid))}), conn.Hello())
		}
	})
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

func uidOf(t *testing.T, user string) uint32 {
	t.Helper()
	credential, _ := credentialOf(t, user)
	return credential.Uid
}

// refused reports whether an error says that the caller may not.
func refused(err error) bool {
	return errors.Is(err, machine1.ErrAccessDenied) || errors.Is(err, machine1.ErrInteractionRequired)
}

// As people write them: for one group, by machine and by verb.
const groupRules = `
polkit.addRule(function(action, subject) {
	if (!subject.isInGroup("ops")) return polkit.Result.NOT_HANDLED;
	if (action.id == "org.freedesktop.machine1.shell" && action.lookup("machine") == "rules-one")
		return polkit.Result.YES;
	if (action.id == "org.freedesktop.machine1.manage-machines" && action.lookup("machine").indexOf("dev-") == 0 &&
	    ["kill", "terminate"].indexOf(action.lookup("verb")) >= 0)
		return polkit.Result.YES;
	if (action.id == "org.freedesktop.machine1.host-shell" && action.lookup("user") == "nobody")
		return polkit.Result.YES;
});`

func TestPolkitRulesForAGroup(t *testing.T) {
	run(t, "groupadd", "-f", "ops")
	run(t, "gpasswd", "-a", "alice", "ops")
	w := watch(t)
	startGuest(t, "rules-one")
	register(t, w, "rules-two", startProcess(t, "rules-two"))
	register(t, w, "dev-1", startProcess(t, "dev-1"))
	setRules(t, groupRules)

	for _, trial := range []struct {
		user    string
		argv    []string
		allowed bool
	}{
		{"bob", []string{"shell", "rules-one", "/bin/echo", "inside"}, false},
		{"bob", []string{"shell", "rules-two", "/bin/echo", "inside"}, false},
		{"bob", []string{"terminate", "dev-1"}, false},
		{"bob", []string{"terminate", "rules-one"}, false},
		{"bob", []string{"clean"}, false},
		{"bob", []string{"shell", "nobody@.host", "/bin/echo", "outside"}, false},
		{"bob", []string{"list"}, true},
		{"bob", []string{"status", "rules-one"}, true},
		{"bob", []string{"show", "dev-1"}, true},
		{"alice", []string{"shell", "rules-one", "/bin/echo", "inside"}, true},
		{"alice", []string{"shell", "rules-two", "/bin/echo", "inside"}, false},
		{"alice", []string{"kill", "--signal=CONT", "dev-1"}, true},
		{"alice", []string{"terminate", "rules-one"}, false},
		{"alice", []string{"terminate", "dev-1"}, true},
		{"alice", []string{"clean"}, false},
		{"alice", []string{"clean", "--all"}, false},
		{"alice", []string{"remove", "tiny"}, false},
		{"alice", []string{"copy-from", "rules-one", "/etc/hostname", "/tmp/rules-hostname"}, false},
		{"alice", []string{"bind", "rules-one", "/tmp"}, false},
		{"alice", []string{"shell", "nobody@.host", "/bin/echo", "outside"}, true},
		{"alice", []string{"shell", "root@.host", "/bin/echo", "outside"}, false},
		{"alice", []string{"list"}, true},
	} {
		start := time.Now()
		o := observeAs(t, trial.user, append([]string{"machinectl", "--no-pager"}, trial.argv...)...)
		told := fmt.Sprintf("%s: machinectl %s: exit %d\n%s%s", trial.user, strings.Join(trial.argv, " "), o.Code, o.Stdout, o.Stderr)
		said := strings.ToLower(o.Stderr)
		switch {
		case trial.allowed && o.Code != 0,
			!trial.allowed && o.Code != 1,
			!trial.allowed && !strings.Contains(said, "access denied") && !strings.Contains(said, "interactive authentication required"):
			t.Error(told)
		}
		if took := time.Since(start); !trial.allowed && took > 5*time.Second {
			t.Errorf("it took %s to refuse\n%s", took, told)
		}
	}
	w.await(t, "MachineRemoved", "dev-1")
}

// Who is allowed everything that systemd-machined can do is not allowed what
// only machd can.
func TestMachdOwnActionsAreNotStocks(t *testing.T) {
	const name = "own-actions"
	register(t, watch(t), name, startProcess(t, name))
	setRules(t, `polkit.addRule(function(action, subject) {
		if (action.id.indexOf("org.freedesktop.machine1.") == 0) return polkit.Result.YES;
	});`)
	alice, own := dialAs(t, "alice"), 0
	questions := append(questionsAboutFiles(name), questionsAboutImages(t)...)
	for _, q := range questions {
		if !strings.HasPrefix(q.member, ours) {
			continue
		}
		own++
		if err := q.call(t, alice); !refused(err) {
			t.Errorf("alice may %s: %v", q.member, err)
		}
	}
	if own != 5 {
		t.Errorf("machd has %d calls of its own", own)
	}
	must(t, call(t, alice, "KillMachine", []any{name, "leader", int32(18)}))
}

// exactRules allow a user nothing but what is in the list, with exactly these
// details.
const exactRules = `
var wanted = %s;
polkit.addRule(function(action, subject) {
	if (action.id.indexOf("org.freedesktop.machine1.") != 0 && action.id.indexOf("org.machd.") != 0 || subject.user != "alice") return polkit.Result.NOT_HANDLED;
	var given = {}, prefix = "_detail_";
	for (var key in action)
		if (key.indexOf(prefix) == 0 && key.indexOf(prefix + "polkit.") != 0) given[key.substr(prefix.length)] = action[key];
	var known = wanted.some(function(w) {
		return w.Action == action.id && Object.keys(w.Details).length == Object.keys(given).length &&
			Object.keys(w.Details).every(function(key) { return w.Details[key] == given[key]; });
	});
	return known ? polkit.Result.YES : polkit.Result.NO;
});`

// A question is what polkit is asked before a call, and the call.
type question struct {
	Action  string
	Details map[string]string

	member string
	args   []any
	since  int // the version of systemd that lets users call it
}

// onlyMachd is instead of a version.
const onlyMachd = 1000

// ours begins the name of a method of machd's own interface.
const ours = "+"

func TestPolkitIsAskedWithTheseDetails(t *testing.T) {
	const name, other = "details", "details-other"
	w := watch(t)
	p := startProcess(t, name)
	register(t, w, name, p)
	mine := exec.Command("sleep", "infinity")
	credential, _ := credentialOf(t, "alice")
	mine.SysProcAttr = processAttributes(credential)
	must(t, mine.Start())
	t.Cleanup(func() { mine.Process.Kill(); mine.Wait() })
	pid := uint32(mine.Process.Pid)

	machine, verb := map[string]string{"machine": name}, func(v string) map[string]string {
		return map[string]string{"machine": name, "verb": v}
	}
	questions := []question{
		{"kill", verb("kill"), "KillMachine", []any{name, "leader", int32(18)}, 257},
		{"get", verb("get_os_release"), "GetMachineOSRelease", []any{name}, 262},
		{"login", verb("login"), "OpenMachineLogin", []any{name}, 257},
		{"shell", map[string]string{"machine": name, "user": "nobody", "program": "/bin/echo", "command_line": "echo a b"},
			"OpenMachineShell", []any{name, "nobody", "/bin/echo", []string{"echo", "a b"}, []string{"A=b"}}, 257},
		{"host-shell", map[string]string{"machine": ".host", "user": "nobody", "program": "/bin/true", "command_line": "/bin/true"},
			"OpenMachineShell", []any{".host", "nobody", "/bin/true", []string{}, []string{}}, 257},
		{"host-login", map[string]string{"machine": ".host", "verb": "login"}, "OpenMachineLogin", []any{".host"}, 257},
		{"open-pty", machine, "OpenMachinePTY", []any{name}, 262},
		{"host-open-pty", map[string]string{"machine": ".host"}, "OpenMachinePTY", []any{".host"}, 262},
		{"manage", verb("open_root_directory"), "OpenMachineRootDirectory", []any{name}, 262},
		{"register-machine", map[string]string{"name": other, "class": "vm"}, "RegisterMachine",
			[]any{other, []byte{}, "t", "vm", pid, ""}, 262},
		{"manage", map[string]string{"machine": other, "verb": "unregister"}, "UnregisterMachine", []any{other}, 262},
		{"create-machine", map[string]string{"name": other}, "CreateMachine",
			[]any{other, []byte{}, "t", "", pid, "", []machine1.Property{}}, 262},
	}
	questions = append(questions, questionsAboutFiles(name)...)
	questions = append(questions, questionsAboutImages(t)...)
	questions = append(questions, questionsAboutEx(t, pid)...)
	questions = append(questions, question{"manage", verb("terminate"), "TerminateMachine", []any{name}, 257})
	for i := range questions {
		questions[i].Action = actions[questions[i].Action]
	}
	alice := dialAs(t, "alice")
	// Without any rule, all are refused and nothing happens; what one may do is
	// his right as the owner.
	for _, allowed := range []bool{false, true} {
		wanted := []question{}
		if allowed {
			wanted = questions
		}
		list, err := json.Marshal(wanted)
		must(t, err)
		setRules(t, fmt.Sprintf(exactRules, list))
		for _, q := range questions {
			if q.since > live.Host.Version && !live.Host.Machd || q.member == "UnregisterMachine" && !allowed {
				continue
			}
			err := q.call(t, alice)
			if refused(err) == allowed {
				t.Errorf("%s %v, allowed %v: %v", q.member, q.args, allowed, err)
			}
		}
	}
}

func (q question) call(t *testing.T, conn *dbus.Conn) error {
	t.Helper()
	if own, ok := strings.CutPrefix(q.member, ours); ok {
		return bus.Call(t.Context(), conn, manager, machd1.ManagerInterface+"."+own, false, q.args)
	}
	return call(t, conn, q.member, q.args)
}

func questionsAboutFiles(name string) []question {
	with := func(verb string) map[string]string {
		return map[string]string{"machine": name, "verb": verb, "src": "/no/such/source", "dest": "/no/such/place"}
	}
	args := []any{name, "/no/such/source", "/no/such/place"}
	more := func(arg any) []any { return append(slices.Clone(args), arg) }
	none := map[string]dbus.Variant{}
	return []question{
		{"manage", with("bind"), "BindMountMachine", []any{name, "/no/such/source", "/no/such/place", false, false}, 257},
		{"manage", with("copy"), "CopyFromMachine", args, 257},
		{"manage", with("copy"), "CopyToMachine", args, 257},
		{"manage", with("copy"), "CopyFromMachineWithFlags", more(uint64(1)), 262},
		{"manage", with("copy"), "CopyToMachineWithFlags", more(uint64(1)), 262},
		{"own-bind", with("bind"), ours + "BindMount", more(none), onlyMachd},
		{"own-bind", map[string]string{"machine": name, "verb": "unbind", "dest": "/no/such/place"}, ours + "Unbind",
			[]any{name, "/no/such/place", none}, onlyMachd},
		{"own-copy", with("copy_from"), ours + "CopyFrom", more(none), onlyMachd},
		{"own-copy", with("copy_to"), ours + "CopyTo", more(none), onlyMachd},
	}
}

// questionsAboutImages are about images that there are: one that is not is
// missed before anybody is asked.
func questionsAboutImages(t *testing.T) []question {
	t.Helper()
	const one, two, three = "asked-one", "asked-two", "asked-three"
	names := []string{one, two, three, "asked-clone", "asked-renamed"}
	for _, name := range names[:3] {
		must(t, os.MkdirAll(filepath.Join(guests, name, "etc"), 0o755))
	}
	t.Cleanup(func() {
		for _, name := range names {
			run(t, "rm", "-rf", filepath.Join(guests, name))
		}
	})
	with := func(pairs ...string) map[string]string {
		details := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			details[pairs[i]] = pairs[i+1]
		}
		return details
	}
	return []question{
		{"images", with("image", one, "verb", "mark_read_only", "read_only", "0"), "MarkImageReadOnly", []any{one, false}, 257},
		{"images", with("machine", one, "verb", "set_limit"), "SetImageLimit", []any{one, uint64(1 << 30)}, 257},
		{"images", with("image", one, "verb", "clone", "new_name", "asked-clone"), "CloneImage", []any{one, "asked-clone", false}, 257},
		{"images", with("image", one, "verb", "rename", "new_name", "asked-renamed"), "RenameImage", []any{one, "asked-renamed"}, 257},
		{"images", with("image", two, "verb", "remove"), "RemoveImage", []any{two}, 257},
		{"own-images", with("image", three, "verb", "remove", "settings", "0"), ours + "RemoveImage",
			[]any{three, map[string]dbus.Variant{}}, onlyMachd},
		{"manage", with("verb", "set_pool_limit"), "SetPoolLimit", []any{uint64(1 << 40)}, 257},
		{"manage", with("verb", "clean_pool", "mode", "hidden"), "CleanPool", []any{"hidden"}, 257},
	}
}

// questionsAboutEx are about a process of the user's. systemd asks for an
// action that it does not define before it creates a machine that way.
func questionsAboutEx(t *testing.T, pid uint32) []question {
	t.Helper()
	const name = "details-ex"
	fd, err := unix.PidfdOpen(int(pid), 0)
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	properties := []machine1.Property{
		{Name: "Class", Value: dbus.MakeVariant("vm")},
		{Name: "LeaderPIDFD", Value: dbus.MakeVariant(dbus.UnixFD(fd))},
	}
	details := map[string]string{"name": name, "class": "vm"}
	return []question{
		{"register-machine", details, "RegisterMachineEx", []any{name, properties}, 262},
		{"manage", map[string]string{"machine": name, "verb": "unregister"}, "UnregisterMachine", []any{name}, 262},
		{"create-machine", details, "CreateMachineEx", []any{name, properties, []machine1.Property{}}, onlyMachd},
	}
}

// actions are the names used above.
var actions = map[string]string{
	"kill": machine1.ActionManageMachines, "manage": machine1.ActionManageMachines, "get": machine1.ActionInspectMachines,
	"login": machine1.ActionLogin, "host-login": machine1.ActionHostLogin, "shell": machine1.ActionShell,
	"host-shell": machine1.ActionHostShell, "open-pty": machine1.ActionOpenPTY, "host-open-pty": machine1.ActionHostOpenPTY,
	"images": machine1.ActionManageImages, "own-bind": machd1.ActionBind, "own-copy": machd1.ActionCopy, "own-images": machd1.ActionManageImages,
	"register-machine": machine1.ActionRegisterMachine, "create-machine": machine1.ActionCreateMachine,
}

// Where nobody can be asked for a password, the flag that allows asking makes
// nobody wait.
func TestPolkitWithoutAgentRefusesAtOnce(t *testing.T) {
	w := watch(t)
	register(t, w, "agentless", startProcess(t, "agentless"))
	alice := dialAs(t, "alice")
	for _, interactive := range []bool{false, true} {
		start := time.Now()
		err := bus.Call(t.Context(), alice, manager, machine1.ManagerInterface+".TerminateMachine", interactive, []any{"agentless"})
		if took := time.Since(start); !refused(err) || took > 5*time.Second {
			t.Errorf("interactive %v: after %s: %v", interactive, took, err)
		}
	}
	if err := w.call(t, "GetMachine", []any{"agentless"}); err != nil {
		t.Error(err)
	}
}

// Without polkit, only root is allowed anything.
func TestMachdWithoutPolkitLetsRootIn(t *testing.T) {
	w := watch(t)
	register(t, w, "lawless", startProcess(t, "lawless"))
	run(t, "systemctl", "mask", "--runtime", "--now", "polkit.service")
	t.Cleanup(func() {
		run(t, "systemctl", "unmask", "--runtime", "polkit.service")
		restartPolkit(t)
	})
	err := call(t, dialAs(t, "alice"), "TerminateMachine", []any{"lawless"})
	if !errors.Is(err, machine1.ErrAccessDenied) || !strings.Contains(err.Error(), "polkit") {
		t.Errorf("alice is told: %v", err)
	}
	o := observeAs(t, "alice", "machctl", "terminate", "lawless")
	if o.Code != 4 || !strings.Contains(o.Stderr, "polkit is not running") {
		t.Errorf("alice is told: %+v", o)
	}
	run(t, "machctl", "terminate", "lawless")
}
