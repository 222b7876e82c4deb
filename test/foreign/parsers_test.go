package foreign

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/machd/machd/test/live"
)

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil || n == 0 {
		t.Fatalf("%q is not the number of a process", text)
	}
	return n
}

// A client is what scripts call.
type client struct {
	name, path string
	strict     bool // speaks as machinectl does, failures included
}

// clients are machinectl and, where machd is, machctl under both of its names.
func clients(t *testing.T) []client {
	t.Helper()
	list := []client{{"machinectl", "machinectl", true}}
	if !live.Host.Machd {
		return list
	}
	machctl, err := exec.LookPath("machctl")
	live.Must(t, err)
	link := filepath.Join(t.TempDir(), "machinectl")
	live.Must(t, os.Symlink(machctl, link))
	return append(list, client{"machctl", machctl, false}, client{"machctl as machinectl", link, true})
}

// TestScriptsThatParse does what scripts do with list, show and status, in a
// pipe and a narrow terminal.
func TestScriptsThatParse(t *testing.T) {
	const name, image, unknown = "parsed", "tiny", "parsed-nobody"
	t.Setenv("COLUMNS", "40")
	for _, c := range clients(t) {
		// Those of the test before may have been killed a moment ago.
		live.Eventually(t, c.name+" lists nothing without machines", func() error {
			if got := live.Observe(t, c.path, "list", "-o", "json"); got.Code != 0 || strings.TrimSpace(got.Stdout) != "[]" {
				return fmt.Errorf("the list is %q, exit status %d", got.Stdout, got.Code)
			}
			return nil
		})
	}
	startGuest(t, name)
	for _, c := range clients(t) {
		t.Run(c.name, func(t *testing.T) {
			c.parseList(t, name)
			c.parseShow(t, name)
			c.wantUnknown(t, image, "status", image)
			c.wantUnknown(t, unknown, "status", unknown)
			c.wantUnknown(t, unknown, "show", "--property=State=running", unknown)
			if got := live.Observe(t, c.path, "status", name); got.Code != 0 || !strings.Contains(got.Stdout, name) {
				t.Errorf("status: exit status %d\n%s%s", got.Code, got.Stdout, got.Stderr)
			}
		})
	}
	clients(t)[0].enable(t, name)
	// Some programs ask for the unit by its name.
	if got := live.Run(t, "systemctl", "show", "-P", "ActiveState", "systemd-nspawn@"+name+".service"); got != "active" {
		t.Errorf("the unit is %s", got)
	}
}

func (c client) parseList(t *testing.T, name string) {
	t.Helper()
	for _, argv := range [][]string{{"list", "--no-legend"}, {"--no-legend", "list"}, {"list", "--no-legend", "--no-pager"}} {
		lines := strings.Split(live.Run(t, append([]string{c.path}, argv...)...), "\n")
		want := []string{name, "container", "systemd-nspawn", "debian", "13", "-"}
		if len(lines) != 1 || !reflect.DeepEqual(strings.Fields(lines[0]), want) {
			t.Errorf("%q gives %q, want %q", argv, lines, want)
		}
	}
	for _, argv := range [][]string{{"list", "-o", "json"}, {"list", "--output=json"}} {
		var list []map[string]any
		text := live.Run(t, append([]string{c.path}, argv...)...)
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			t.Errorf("%q: %v\n%s", argv, err, text)
			continue
		}
		want := []map[string]any{{"machine": name, "class": "container", "service": "systemd-nspawn", "os": "debian",
			"version": "13", "addresses": nil}}
		if !reflect.DeepEqual(list, want) {
			t.Errorf("%q gives %v, want %v", argv, list, want)
		}
	}
	if got := live.Run(t, c.path, "list-images", "--no-legend"); !strings.Contains(got, name+" ") {
		t.Errorf("list-images gives\n%s", got)
	}
}

func (c client) parseShow(t *testing.T, name string) {
	t.Helper()
	leader := ""
	for _, argv := range [][]string{{"-p", "Leader", "--value", name}, {"--property=Leader", "--value", name}, {"-P", "Leader", name}, {name, "-P", "Leader"}} {
		got := live.Run(t, append([]string{c.path, "show"}, argv...)...)
		if number(t, got); leader != "" && got != leader {
			t.Errorf("show %q gives %q, before %q", argv, got, leader)
		}
		leader = got
	}
	for _, show := range [][2]string{
		{"--property=State", "State=running\n"},
		{"--property=State=running", "State=running\n"},
		{"--property=State=closing", ""},
		{"--property=Nothing", ""},
	} {
		got := live.Observe(t, c.path, "show", show[0], name)
		if got.Code != 0 || got.Stdout != show[1] {
			t.Errorf("show %s: exit status %d, %q, want %q", show[0], got.Code, got.Stdout, show[1])
		}
	}
}

// wantUnknown runs a command about a name that no machine has.
func (c client) wantUnknown(t *testing.T, name string, argv ...string) {
	t.Helper()
	got := live.Observe(t, append([]string{c.path}, argv...)...)
	cause := "No machine '" + name + "' known"
	if c.strict {
		cause = "Could not get path to machine: " + cause
	}
	if got.Code == 0 || c.strict && got.Code != 1 || got.Stdout != "" || !strings.Contains(got.Stderr, cause) {
		t.Errorf("%q: exit status %d, want 1 and %q\n%s%s", argv, got.Code, cause, got.Stdout, got.Stderr)
	}
}

// enable looks for the link that says that a machine starts at boot.
func (c client) enable(t *testing.T, name string) {
	t.Helper()
	link := "/etc/systemd/system/machines.target.wants/systemd-nspawn@" + name + ".service"
	live.Run(t, c.path, "enable", name)
	if target, err := os.Readlink(link); err != nil || !strings.HasSuffix(target, "/systemd-nspawn@.service") {
		t.Errorf("the link leads to %q: %v", target, err)
	}
	live.Run(t, c.path, "disable", name)
	if _, err := os.Lstat(link); !os.IsNotExist(err) {
		t.Errorf("the link is left: %v", err)
	}
}
