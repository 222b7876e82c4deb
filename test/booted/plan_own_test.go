package booted

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/machd/machd/pkg/machine1"
)

// installOwnGuest makes a copy of c8-ns, and ends what machd starts of it.
func installOwnGuest(t *testing.T, name string) {
	t.Helper()
	installGuest(t, name)
	t.Cleanup(func() {
		observe(t, "systemctl", "kill", "--signal=KILL", transientOf(name))
		observe(t, "systemctl", "stop", transientOf(name))
	})
}

// installTiny makes a copy of tiny.
func installTiny(t *testing.T, name string) {
	t.Helper()
	run(t, "cp", "-a", filepath.Join(guests, "tiny"), filepath.Join(guests, name))
	t.Cleanup(func() {
		observe(t, "systemctl", "kill", "--signal=KILL", transientOf(name))
		observe(t, "systemctl", "stop", transientOf(name))
		os.RemoveAll(filepath.Join(guests, name))
	})
}

// endAtOnce ends a machine whose init takes no orders.
func endAtOnce(t *testing.T, unit string) {
	t.Helper()
	run(t, "systemctl", "kill", "--signal=KILL", unit)
	eventually(t, unit+" is over", func() error {
		if state := strings.TrimSpace(observe(t, "systemctl", "is-active", unit).Stdout); state != "inactive" && state != "failed" {
			return fmt.Errorf("it is %s", state)
		}
		return nil
	})
	observe(t, "systemctl", "reset-failed", unit)
}

func show(t *testing.T, unit, property string) string {
	t.Helper()
	return run(t, "systemctl", "show", "-P", property, unit)
}

// A .nspawn file that says otherwise of all that options say, and one thing more.
const contrary = `[Exec]
NotifyReady=yes
Hostname=by-file
PrivateUsers=pick
Environment=FROM=file KEPT=yes
Capability=CAP_NET_RAW
KillSignal=SIGTERM
[Files]
Bind=/usr/share:/mnt/by-file
[Network]
VirtualEthernet=no
`

// Options win over a machine's settings, add to its lists, and leave the rest:
// each is seen in the machine, or at its unit.
func TestMachdOptionsWinOverSettings(t *testing.T) {
	t.Parallel()
	const name = "plan-options"
	installOwnGuest(t, name)
	file := filepath.Join(settings, name+".nspawn")
	must(t, os.WriteFile(file, []byte(contrary), 0o644))
	must(t, os.Mkdir(filepath.Join(guests, name, "mnt/by-option"), 0o755))
	must(t, os.Remove(filepath.Join(guests, name, "etc/hostname"))) // its systemd would heed that
	before := planFiles(t)
	run(t, "machctl", "start", name, "--bind-ro=/usr/lib:/mnt/by-option", "--env=FROM=option", "--hostname=by-option", "--private-users=no",
		"--capability=CAP_SYS_TIME", "--stop-signal=SIGRTMIN+3", "--memory=1G", "--cpus=0.5", "--tasks=30%", "--io-weight=50",
		"--property=MemoryHigh=900M", "--property=Environment=OF=unit", "--slice=machine-own.slice", "--restart=on-failure", "--stop-timeout=40s")
	inside := func(script string) string { return run(t, "machctl", "exec", name, "--", "sh", "-c", script) }
	leader := watch(t).properties(t, name)["Leader"]
	environment := inside("tr '\\0' '\\n' </proc/1/environ")
	for what, c := range map[string][2]string{
		"host name":             {inside("hostname"), "by-option"},
		"the file's mount":      {inside("ls -d /mnt/by-file/zoneinfo"), "/mnt/by-file/zoneinfo"},
		"the option's mount":    {inside("ls -d /mnt/by-option/os-release; touch /mnt/by-option/x 2>&1 | grep -o Read-only"), "/mnt/by-option/os-release\nRead-only"},
		"users":                 {inside("cat /proc/self/uid_map | tr -s ' '"), " 0 0 4294967295"},
		"a variable of both":    {fmt.Sprint(strings.Contains(environment, "FROM=option") && !strings.Contains(environment, "FROM=file")), "true"},
		"a variable of a file":  {fmt.Sprint(strings.Contains(environment, "KEPT=yes")), "true"},
		"the file's network":    {inside("ls /sys/class/net | grep -c host0 || true"), "0"},
		"option's capability":   {fmt.Sprint(capabilities(t, leader) >> 25 & 1), "1"},
		"the file's capability": {fmt.Sprint(capabilities(t, leader) >> 13 & 1), "1"},
		"memory":                {show(t, transientOf(name), "MemoryMax"), "1073741824"},
		"high memory":           {show(t, transientOf(name), "MemoryHigh"), "943718400"},
		"cpus":                  {show(t, transientOf(name), "CPUQuotaPerSecUSec"), "500ms"},
		"weight":                {show(t, transientOf(name), "IOWeight"), "50"},
		"environment of nspawn": {show(t, transientOf(name), "Environment"), "OF=unit"},
		"slice":                 {show(t, transientOf(name), "Slice"), "machine-own.slice"},
		"restart":               {show(t, transientOf(name), "Restart"), "on-failure"},
		"stop timeout":          {show(t, transientOf(name), "TimeoutStopUSec"), "40s"},
		"template's watchdog":   {show(t, transientOf(name), "WatchdogUSec"), "3min"},
	} {
		if c[0] != c[1] {
			t.Errorf("%s: %q, want %q", what, c[0], c[1])
		}
	}
	if tasks := show(t, transientOf(name), "TasksMax"); tasks == "16384" || tasks == "infinity" {
		t.Errorf("30%% of the tasks are %s", tasks)
	}
	run(t, "machctl", "stop", name)
	eventually(t, "nothing is left", func() error {
		if after := planFiles(t); !slices.Equal(before, after) {
			return fmt.Errorf("before %q, now %q", before, after)
		}
		return nil
	})
	if text, err := os.ReadFile(file); err != nil || string(text) != contrary {
		t.Errorf("the settings are others, %v:\n%s", err, text)
	}
}

// planFiles are the files in which units and machines are set up.
func planFiles(t *testing.T) (files []string) {
	t.Helper()
	for _, dir := range []string{"/etc/systemd/system", "/etc/systemd/nspawn", "/run/systemd/system", "/run/systemd/transient",
		"/run/systemd/system.control", "/etc/systemd/system.control", "/run/machd/starts"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && strings.Contains(path, "plan") {
				files = append(files, path)
			}
			return nil
		})
		must(t, err)
	}
	return files
}

// What an administrator has set up for one machine is his: started without
// options, the machine runs as the unit that he knows. With options it has what
// he said, and what they say.
func TestMachdAdministratorsUnits(t *testing.T) {
	const name = "plan-admin"
	installTiny(t, name)
	// Its init is no systemd: it does not say that it is ready.
	unit := serviceOf(name)
	t.Cleanup(func() { observe(t, "systemctl", "stop", unit) })
	dropIn := "/etc/systemd/system/" + unit + ".d/10-mine.conf"
	for _, c := range []struct {
		how          string
		set, takeOff func()
	}{
		{"a drop-in", func() {
			must(t, os.MkdirAll(filepath.Dir(dropIn), 0o755))
			must(t, os.WriteFile(dropIn, []byte("[Service]\nTasksMax=1234\n"), 0o644))
		}, func() { os.RemoveAll(filepath.Dir(dropIn)) }},
		{"a drop-in and a link", func() {
			must(t, os.MkdirAll(filepath.Dir(dropIn), 0o755))
			must(t, os.WriteFile(dropIn, []byte("[Service]\nTasksMax=1234\n"), 0o644))
			run(t, "systemctl", "enable", unit)
		}, func() { os.RemoveAll(filepath.Dir(dropIn)); observe(t, "systemctl", "disable", unit) }},
		{"a file of its own", func() {
			text, err := os.ReadFile("/usr/lib/systemd/system/systemd-nspawn@.service")
			must(t, err)
			must(t, os.WriteFile("/etc/systemd/system/"+unit, []byte(strings.Replace(string(text), "TasksMax=16384", "TasksMax=1234", 1)), 0o644))
		}, func() { os.Remove("/etc/systemd/system/" + unit) }},
	} {
		c.set()
		run(t, "systemctl", "daemon-reload")
		for _, start := range []struct {
			options []string
			unit    string
		}{{nil, unit}, {[]string{"--hostname=other"}, transientOf(name)}} {
			run(t, append([]string{"machctl", "start", "--wait=registered", name}, start.options...)...)
			if got := watch(t).properties(t, name)["Unit"]; got != start.unit {
				t.Errorf("%s, options %q: the machine runs in %v", c.how, start.options, got)
			}
			if got := show(t, start.unit, "TasksMax"); got != "1234" {
				t.Errorf("%s, options %q: the machine may have %s tasks", c.how, start.options, got)
			}
			endAtOnce(t, start.unit)
		}
		c.takeOff()
		run(t, "systemctl", "daemon-reload")
	}
	run(t, "machctl", "start", "--wait=registered", name)
	if got := watch(t).properties(t, name)["Unit"]; got != transientOf(name) {
		t.Errorf("without any of it the machine runs in %v", got)
	}
	endAtOnce(t, transientOf(name))
}

// Drop-ins for all machines and a mask are heeded, too.
func TestMachdTemplateOfTheHost(t *testing.T) {
	const name = "plan-template"
	installTiny(t, name)
	dropIn := "/etc/systemd/system/systemd-nspawn@.service.d/10-test.conf"
	must(t, os.MkdirAll(filepath.Dir(dropIn), 0o755))
	must(t, os.WriteFile(dropIn, []byte("[Service]\nTasksMax=4321\nExecStartPre=/bin/touch /run/plan-template-%i\n"), 0o644))
	run(t, "systemctl", "daemon-reload")
	t.Cleanup(func() {
		os.RemoveAll(filepath.Dir(dropIn))
		os.Remove("/run/plan-template-" + name)
		observe(t, "systemctl", "unmask", serviceOf(name))
		run(t, "systemctl", "daemon-reload")
	})
	run(t, "machctl", "start", "--wait=registered", name)
	if got := show(t, transientOf(name), "TasksMax"); got != "4321" {
		t.Errorf("the machine may have %s tasks", got)
	}
	if _, err := os.Stat("/run/plan-template-" + name); err != nil {
		t.Error(err)
	}
	endAtOnce(t, transientOf(name))
	run(t, "systemctl", "mask", serviceOf(name))
	for _, options := range [][]string{nil, {"--tasks=7"}} {
		o := observe(t, append([]string{"machctl", "start", name}, options...)...)
		if o.Code == 0 || !strings.Contains(o.Stderr, "masked") {
			t.Errorf("a masked unit, with %q: %d, %s", options, o.Code, o.Stderr)
		}
	}
}

// A plan changes nothing: no file, no unit, no machine.
func TestMachdDryRunChangesNothing(t *testing.T) {
	const name = "plan-dry"
	installOwnGuest(t, name)
	options := []string{"--memory=1G", "--bind=/srv:/mnt", "--hostname=h", "--save"}
	state := func() string {
		all := append(planFiles(t), run(t, "machctl", "list", "--no-legend"), run(t, "machctl", "list-images", "--no-legend", "-q"))
		return strings.Join(append(all, run(t, "systemctl", "list-units", "--plain", "--no-legend", "machine*", "systemd-nspawn@*")), "\n")
	}
	before := state()
	plan := run(t, append([]string{"machctl", "start", "--dry-run", name}, options...)...)
	for _, want := range []string{
		name + " in " + transientOf(name), "+ mount /mnt=/srv", "+ property MemoryMax=1G",
		"+ file /etc/systemd/nspawn/" + name + ".nspawn", "+     Bind=/srv:/mnt", "+     MemoryMax=1G",
	} {
		if !strings.Contains(plan+"\n", want+"\n") {
			t.Errorf("there is no %q in the plan:\n%s", want, plan)
		}
	}
	run(t, "machctl", "start", "--dry-run", "plan-dry-clone", "--from=c8-ns", "--private-users=no", "--restart=always")
	if after := state(); after != before {
		t.Errorf("the plan changed something, from\n%s\nto\n%s", before, after)
	}

	run(t, "machctl", "start", name, "--memory=1G", "--hostname=h")
	before = state()
	plan = run(t, "machctl", "start", "--dry-run", name, "--memory=2G", "--hostname=h", "--bind=/srv")
	want := name + " in " + transientOf(name) + "\n+ mount /srv=/srv\n- property MemoryMax=1G\n+ property MemoryMax=2G"
	if plan != want {
		t.Errorf("against the machine that runs, the plan is\n%s\nwant\n%s", plan, want)
	}
	var plans []struct {
		Unit    string
		Changes []struct{ Kind, Name, From, To string }
	}
	must(t, json.Unmarshal([]byte(run(t, "machctl", "start", "--dry-run", name, "-o", "json", "--memory=2G", "--hostname=h")), &plans))
	if len(plans) != 1 || len(plans[0].Changes) != 1 || plans[0].Changes[0] != (struct{ Kind, Name, From, To string }{"property", "MemoryMax", "1G", "2G"}) {
		t.Errorf("as JSON the plan is %+v", plans)
	}
	if after := state(); after != before {
		t.Errorf("the plan changed something, from\n%s\nto\n%s", before, after)
	}
	run(t, "machctl", "stop", name)
}

// What cannot be is refused before anything is done, by the option's name, with
// the reason and the way out.
func TestMachdStartRefusesNonsense(t *testing.T) {
	const name = "plan-wrong"
	installTiny(t, name)
	before := append(planFiles(t), run(t, "systemctl", "list-units", "--all", "--plain", "--no-legend", "machine-plan*"))
	for _, c := range []struct{ options, want string }{
		{"--image=a --directory=/b", "Options 'image' and 'directory' contradict each other"},
		{"--from=c8-ns --disk=/b", "Options 'disk' and 'from' contradict each other"},
		{"--ephemeral --overlay", "Options 'ephemeral' and 'overlay' contradict each other"},
		{"--directory=relative", "'relative' is no absolute, normalized path"},
		{"--directory=/nonexistent", "There is no '/nonexistent' on this host"},
		{"--directory=/etc/hostname", "'/etc/hostname' is not a directory"},
		{"--disk=/etc", "'/etc' is not a file or block device"},
		{"--image=nosuch", "There is no image 'nosuch'"},
		{"--image=/path", "'/path' is no name of an image; a path is for 'directory' or 'disk'"},
		{"--from=nosuch", "There is no image 'nosuch'"},
		{"--from=c8-ns", "There is an image 'plan-wrong' at /var/lib/machines/plan-wrong already"},
		{"--vm --capability=CAP_SYS_TIME", "Option 'capability' is for containers, and 'vm' asks for a virtual machine"},
		{"--memory=0", "'memory': with 0 nothing can run; infinity takes the limit away"},
		{"--memory=lots", "'memory': \"lots\" is no size, as 200M or 1.5G are"},
		{"--memory=101%", "'memory': \"101%\" is no percentage"},
		{"--cpus=0", "'cpus': 0 is less than 0.01, a hundredth of a processor"},
		{"--cpus=-1", "'cpus': \"-1\" is no number of processors"},
		{"--tasks=many", "'tasks': \"many\" is no number"},
		{"--io-weight=10001", "'io_weight': \"10001\" is no number from 1 to 10000"},
		{"--bind=/nonexistent", "'bind': there is no '/nonexistent' on this host"},
		{"--bind=srv:/mnt", "'bind': the source 'srv' is no absolute path"},
		{"--bind-ro=/srv:mnt", "'bind_ro': the destination 'mnt' is no absolute path"},
		{"--hostname=no_name", "'hostname': 'no_name' is no host name"},
		{"--private-users=some", "'private_users': 'some' is none of yes, no, pick, identity and a first ID"},
		{"--capability=ADMIN", "'capability': 'ADMIN' is no capability"},
		{"--stop-signal=SIGNOPE", "'stop_signal': there is no signal \"SIGNOPE\""},
		{"--nspawn-arg=--nope", "systemd-nspawn has no option --nope"},
		{"--nspawn-arg=--machine=other", "--machine is not for it to decide, but for the machine's name"},
		{"--nspawn-arg=word", "'word' is no option of systemd-nspawn"},
		{"--slice=machine", "'slice': 'machine' is no name of a slice"},
		{"--property=MemoryHigh", "-p MemoryHigh: neither a port, as 8080:80, nor a property of the unit"},
		{"--property=NoSuch=1", "Cannot set property 'NoSuch' to '1': there is no such property"},
		{"--property=Nice=high", "Cannot set property 'Nice' to 'high': \"high\" is no number"},
		{"--property=Type=simple", "Property 'Type' is not for 'property' to set"},
	} {
		o := observe(t, append([]string{"machctl", "start", name}, strings.Fields(c.options)...)...)
		if o.Code == 0 || !strings.Contains(o.Stderr, c.want) {
			t.Errorf("%s: exit status %d, %s\nwant %q", c.options, o.Code, o.Stderr, c.want)
		}
	}
	if o := observe(t, "machctl", "start", "nosuch"); o.Code != 3 || !strings.Contains(o.Stderr, "There is no image 'nosuch'") {
		t.Errorf("an image that there is not: %d, %s", o.Code, o.Stderr)
	}
	if after := append(planFiles(t), run(t, "systemctl", "list-units", "--all", "--plain", "--no-legend", "machine-plan*")); !slices.Equal(before, after) {
		t.Errorf("something is left: %q", after)
	}
}

// Two machines cannot have one root, unless one leaves it alone.
func TestMachdPlanOfARootInUse(t *testing.T) {
	const first, second = "plan-first", "plan-second"
	installTiny(t, first)
	run(t, "machctl", "start", "--wait=registered", first)
	o := observe(t, "machctl", "start", "--wait=registered", second, "--image="+first)
	if o.Code == 0 || !strings.Contains(o.Stderr, "'/var/lib/machines/"+first+"' is in use by machine '"+first+"'") {
		t.Errorf("an image in use: %d, %s", o.Code, o.Stderr)
	}
	endAtOnce(t, transientOf(first))
	run(t, "machctl", "start", "--wait=registered", second, "--image="+first)
	t.Cleanup(func() { observe(t, "systemctl", "kill", "--signal=KILL", transientOf(second)) })
	if got := watch(t).properties(t, second)["RootDirectory"]; got != "/var/lib/machines/"+first {
		t.Errorf("the second machine's root is %v", got)
	}
	endAtOnce(t, transientOf(second))
}

// Planning tells what is on the host: it takes the right to start.
func TestMachdPlanTakesARight(t *testing.T) {
	const name = "plan-right"
	installTiny(t, name)
	if o := observeAs(t, "alice", "machctl", "--no-ask-password", "start", "--dry-run", name); o.Code == 0 || !strings.Contains(o.Stderr, "cannot plan to start") {
		t.Errorf("alice's plan: %d, %s%s", o.Code, o.Stdout, o.Stderr)
	}
	o := observe(t, "varlinkctl", "call", "--json=short", machine1.VarlinkSocket, "org.machd.Machine.PlanStart",
		`{"name":"`+name+`","tasks":"7","bind":["/srv"]}`)
	for _, want := range []string{`"unit":"machine-plan\\x2dright.service"`, `{"kind":"mount","name":"/srv","to":"/srv"}`, `{"kind":"property","name":"TasksMax","from":"16384","to":"7"}`} {
		if !strings.Contains(o.Stdout, want) {
			t.Errorf("over Varlink there is no %s: %d, %s%s", want, o.Code, o.Stdout, o.Stderr)
		}
	}
}
