package proc_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
)

func TestUnitOf(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 255-len(".service"))
	for _, c := range []struct{ cgroup, unit, subgroup string }{
		{"/machine.slice/systemd-nspawn@c8-ns.service/supervisor", "systemd-nspawn@c8-ns.service", "supervisor"},
		{"/machine.slice/systemd-nspawn@c8-ns.service", "systemd-nspawn@c8-ns.service", ""},
		{`/machine.slice/machine-c8\x2dns.scope/payload/init.scope`, `machine-c8\x2dns.scope`, "payload/init.scope"},
		{"/user.slice/user-1000.slice/user@1000.service/app.slice/x.service", "user@1000.service", "app.slice/x.service"},
		{"/init.scope", "init.scope", ""},
		{"init.scope", "init.scope", ""},
		{"//system.slice//dbus.service//", "dbus.service", ""},
		{"/_cpu.service/x", "cpu.service", "x"},
		{"/_machine.slice/_dev-sda.swap", "dev-sda.swap", ""},
		{"/a.slice/" + long + ".service", long + ".service", ""},

		{"/", "", ""},
		{"", "", ""},
		{"/machine.slice", "", ""},
		{"/machine.slice/", "", ""},
		{"/../system.slice/dbus.service", "", ""},
		{"/machine.slice/libvirt/qemu.scope", "", ""},
		{"/foo@.service", "", ""},
		{"/@foo.service", "", ""},
		{"/foo@bar.slice/x.service", "", ""},
		{"/.service", "", ""},
		{"/foo.bar", "", ""},
		{"/foo.target", "", ""},
		{"/b\x00d.service", "", ""},
		{"/bäd.service", "", ""},
		{"/a b.service", "", ""},
		{"/a.slice/x" + long + ".service", "", ""},
	} {
		unit, subgroup, err := proc.UnitOf(c.cgroup)
		if unit != c.unit || subgroup != c.subgroup {
			t.Errorf("UnitOf(%q) = %q, %q, want %q, %q", c.cgroup, unit, subgroup, c.unit, c.subgroup)
		}
		if (c.unit == "") != errors.Is(err, unix.ENXIO) {
			t.Errorf("UnitOf(%q): %v", c.cgroup, err)
		}
	}
}

func FuzzUnitOf(f *testing.F) {
	for _, seed := range []string{
		"/machine.slice/systemd-nspawn@c8-ns.service/supervisor", "/_a.slice/_b.scope", "/a@.service", "//..//.slice", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, cgroup string) {
		unit, subgroup, err := proc.UnitOf(cgroup)
		if err != nil {
			if unit != "" || subgroup != "" {
				t.Errorf("%q, %q beside an error", unit, subgroup)
			}
			return
		}
		if len(unit) > 255 || strings.ContainsAny(unit, "/\x00\n") || strings.HasSuffix(unit, ".slice") {
			t.Errorf("%q is no unit with processes", unit)
		}
		// The answer is a cgroup too, and says the same.
		again, below, err := proc.UnitOf("/_x.slice/_" + unit + "/" + subgroup)
		if again != unit || below != subgroup || err != nil {
			t.Errorf("%q, %q became %q, %q, %v", unit, subgroup, again, below, err)
		}
	})
}

func TestCgroupIsThatOfTheUnifiedHierarchy(t *testing.T) {
	t.Parallel()
	needRoot(t)
	mount := unifiedMount(t)
	outer := fmt.Sprintf("machdtest-%d.slice", os.Getpid())
	path := filepath.Join(outer, "test@1.service", "supervisor")
	if err := os.MkdirAll(filepath.Join(mount, path), 0o755); err != nil {
		t.Skipf("cannot make cgroups here: %v", err)
	}
	cmd := child(t)
	t.Cleanup(func() {
		end(cmd)
		for dir := path; dir != "."; dir = filepath.Dir(dir) {
			if err := os.Remove(filepath.Join(mount, dir)); err != nil {
				t.Error(err)
			}
		}
	})
	procs := filepath.Join(mount, path, "cgroup.procs")
	if err := os.WriteFile(procs, []byte(strconv.Itoa(cmd.Process.Pid)), 0); err != nil {
		t.Skipf("cannot move a process here: %v", err)
	}
	got, err := open(t, cmd.Process.Pid).Cgroup()
	if err != nil || !strings.HasSuffix(got, "/"+path) {
		t.Errorf("Cgroup = %q, %v, want …/%s", got, err, path)
	}
}

// unifiedMount returns where the unified hierarchy is mounted.
func unifiedMount(t *testing.T) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(mounts) {
		if fields := strings.Fields(string(line)); len(fields) > 2 && fields[2] == "cgroup2" {
			return fields[1]
		}
	}
	t.Skip("no unified hierarchy is mounted")
	return ""
}

func BenchmarkCgroup(b *testing.B) {
	p := open(b, child(b).Process.Pid)
	for b.Loop() {
		if _, err := p.Cgroup(); err != nil {
			b.Fatal(err)
		}
	}
}

func TestBelowUser(t *testing.T) {
	t.Parallel()
	const user = "/user.slice/user-1000.slice/user@1000.service"
	tests := map[string]string{ // "" is an error
		user + "/machine.slice/a.scope/payload": "/machine.slice/a.scope/payload",
		user:                                    "/",
		"/user.slice/user-1000.slice/session-3.scope/b.service":     "/b.service",
		"/system.slice/systemd-nspawn@a.service":                    "",
		"/user.slice/user-1000.slice/user-runtime-dir@1000.service": "",
		"/": "",
	}
	for cgroup, want := range tests {
		got, err := proc.BelowUser(cgroup)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("BelowUser(%q) = %q, %v, want %q", cgroup, got, err, want)
		}
		if want == "" && !errors.Is(err, unix.ENXIO) {
			t.Errorf("BelowUser(%q): %v, want ENXIO", cgroup, err)
		}
	}
}
