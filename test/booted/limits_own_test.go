package booted

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/machd/machd/pkg/machine1"
)

// limitsOf are the limits of a unit, as PID 1 shows them.
func limitsOf(t *testing.T, unit string) string {
	t.Helper()
	var all []string
	for _, property := range []string{"MemoryMax", "CPUQuotaPerSecUSec", "TasksMax", "IOWeight"} {
		all = append(all, show(t, unit, property))
	}
	return strings.Join(all, " ")
}

// Limits are changed while the machine runs, all at once or none, outlast a
// reload of PID 1, and end with the unit.
func TestMachdLimitsOfARunningMachine(t *testing.T) {
	const name = "limits-live"
	installTiny(t, name)
	unit := transientOf(name)
	run(t, "machctl", "start", "--wait=registered", name, "--tasks=100")
	for _, c := range []struct {
		options, want string
		refused       string // why, "" if it is not
	}{
		{"--memory=200M --cpus=0.5 --tasks=30000 --io-weight=50", "209715200 500ms 30000 50", ""},
		{"--tasks=40", "209715200 500ms 40 50", ""},
		{"--memory=1G --tasks=0", "209715200 500ms 40 50", "'tasks': with 0 nothing can run"},
		{"--memory=1G --cpus=fast", "209715200 500ms 40 50", "'cpus': \"fast\" is no number of processors"},
		{"--io-weight=0 --memory=1G", "209715200 500ms 40 50", "'io_weight': \"0\" is no number from 1 to 10000"},
		{"--memory=2X", "209715200 500ms 40 50", "'memory': \"2X\" is no size"},
		{"--memory=infinity --cpus=infinity --tasks=infinity --io-weight=infinity", "infinity infinity infinity [not set]", ""},
		{"--memory=64M", "67108864 infinity infinity [not set]", ""},
	} {
		o := observe(t, append([]string{"machctl", "set", name}, strings.Fields(c.options)...)...)
		if (o.Code != 0) != (c.refused != "") || !strings.Contains(o.Stderr, c.refused) {
			t.Errorf("%s: exit status %d, %s", c.options, o.Code, o.Stderr)
		}
		if got := limitsOf(t, unit); got != c.want {
			t.Errorf("%s: the limits are %s, want %s", c.options, got, c.want)
		}
	}
	run(t, "systemctl", "daemon-reload")
	if got := limitsOf(t, unit); !strings.HasPrefix(got, "67108864 ") {
		t.Errorf("after a reload the limits are %s", got)
	}
	run(t, "machctl", "set", name, "--memory=30%")
	if got := show(t, unit, "MemoryMax"); got == "67108864" || got == "infinity" {
		t.Errorf("30%% of the memory are %s", got)
	}
	endAtOnce(t, unit)
	eventually(t, "its limits are gone", func() error {
		if left, _ := filepath.Glob("/run/systemd/transient/*limits*"); len(left) > 0 {
			return fmt.Errorf("the unit has left %q", left)
		}
		return nil
	})
	run(t, "machctl", "start", "--wait=registered", name)
	if got := limitsOf(t, unit); got != "infinity infinity 16384 [not set]" {
		t.Errorf("the next start has the limits %s", got)
	}
	endAtOnce(t, unit)
}

// Limits that are saved are those of later starts, by whatever program.
func TestMachdLimitsAreSaved(t *testing.T) {
	const name = "limits-saved"
	installTiny(t, name)
	dir := "/etc/systemd/system/" + serviceOf(name) + ".d"
	t.Cleanup(func() {
		os.RemoveAll(dir)
		run(t, "systemctl", "daemon-reload")
	})
	run(t, "machctl", "start", "--wait=registered", name)
	run(t, "machctl", "set", name, "--tasks=777", "--memory=1G", "--save")
	if o := observe(t, "machctl", "set", name, "--tasks=0", "--save"); o.Code == 0 {
		t.Error("no tasks at all are taken")
	}
	if got := limitsOf(t, transientOf(name)); !strings.HasPrefix(got, "1073741824 infinity 777") {
		t.Errorf("the limits are %s", got)
	}
	endAtOnce(t, transientOf(name))
	run(t, "machctl", "start", "--wait=registered", name)
	if got := limitsOf(t, serviceOf(name)); !strings.HasPrefix(got, "1073741824 infinity 777") {
		t.Errorf("the limits of the next start are %s", got)
	}
	// The unit has a file now.
	run(t, "machctl", "set", name, "--tasks=888")
	if got := show(t, serviceOf(name), "TasksMax"); got != "888" {
		t.Errorf("the administrator's unit may have %s tasks", got)
	}
	endAtOnce(t, serviceOf(name))
}

// Whoever started a machine: it can be limited if it has a unit to itself.
func TestMachdLimitsOfOthersMachines(t *testing.T) {
	w := watch(t)
	const scoped, shared = "limits-scope", "limits-shared"
	startByHand(t, w, scoped)
	run(t, "machctl", "set", scoped, "--tasks=55")
	unit := w.properties(t, scoped)["Unit"].(string)
	if got := show(t, unit, "TasksMax"); got != "55" {
		t.Errorf("%s may have %s tasks", unit, got)
	}
	if o := observe(t, "machctl", "set", scoped, "--tasks=56", "--save"); o.Code == 0 || !strings.Contains(o.Stderr, "cannot be saved") || show(t, unit, "TasksMax") != "55" {
		t.Errorf("limits of a scope are saved: %d, %s", o.Code, o.Stderr)
	}
	p := startProcess(t, shared)
	register(t, w, shared, p)
	o := observe(t, "machctl", "set", shared, "--tasks=55")
	if got := show(t, p.unit, "TasksMax"); (o.Code == 0) != (got == "55") {
		t.Errorf("%s may have %s tasks, exit status %d, %s", p.unit, got, o.Code, o.Stderr)
	}
	if o := observe(t, "machctl", "set", machine1.Host, "--tasks=55"); o.Code == 0 {
		t.Error("the host is limited as a machine")
	}
	if o := observe(t, "machctl", "set", "limits-nope", "--tasks=55"); o.Code != 3 {
		t.Errorf("a machine that there is not: %d, %s", o.Code, o.Stderr)
	}
}

// It takes a right of its own, also from whoever owns the machine, and rules see
// what is asked for.
func TestMachdLimitsTakeARight(t *testing.T) {
	const name = "limits-right"
	installTiny(t, name)
	run(t, "machctl", "start", "--wait=registered", name)
	unit := transientOf(name)
	if o := observeAs(t, "alice", "machctl", "--no-ask-password", "set", name, "--tasks=5"); o.Code != 4 {
		t.Errorf("alice sets limits: %d, %s", o.Code, o.Stderr)
	}
	if got := show(t, unit, "TasksMax"); got != "16384" {
		t.Errorf("the machine may have %s tasks", got)
	}
	call := func(parameters string) outcome {
		return observe(t, "varlinkctl", "call", "--json=short", machine1.VarlinkSocket, "org.machd.Machine.SetLimits", parameters)
	}
	o := call(fmt.Sprintf(`{"name":%q,"tasks":"66","cpus":"1.5"}`, name))
	if got := limitsOf(t, unit); o.Code != 0 || !strings.HasPrefix(got, "infinity 1.5") || !strings.HasSuffix(got, " 66 [not set]") {
		t.Errorf("over Varlink: %d, %s, %s", o.Code, o.Stderr, got)
	}
	if o := call(fmt.Sprintf(`{"name":%q,"tasks":"67","cpus":"0"}`, name)); o.Code == 0 || !strings.Contains(o.Stdout+o.Stderr, "hundredth") || show(t, unit, "TasksMax") != "66" {
		t.Errorf("over Varlink, refused: %d, %s%s", o.Code, o.Stdout, o.Stderr)
	}
	endAtOnce(t, unit)
}
