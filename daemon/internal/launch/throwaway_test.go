package launch

import (
	"slices"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/daemon/internal/throwaway"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/nspawnfile"
)

func TestIDsOfTheRootAreTheMachines(t *testing.T) {
	t.Parallel()
	file := func(text string) *settingsFile { return &settingsFile{file: nspawnfile.Parse("[Exec]\n" + text)} }
	pick, none := throwaway.Users{Pick: true}, throwaway.Users{}
	for _, c := range []struct {
		line     string
		settings *settingsFile
		want     throwaway.Users
	}{
		{"-U --settings=override", nil, pick},
		{"--boot", nil, none},
		{"-U --private-users=no", nil, none},
		{"--private-users=no -U", nil, pick},
		{"-U --private-users=655360:65536 --private-users-ownership=auto", nil, throwaway.Users{Base: 655360}},
		{"--private-users=identity", nil, none},
		{"--private-users=pick", nil, pick},
		{"-U --settings=override", file("PrivateUsers=no"), none},
		{"-U --settings=override", file("Boot=no"), pick},
		{"-U --settings=trusted", file("PrivateUsers=no"), pick},
		{"--settings=trusted", file("PrivateUsers=pick"), pick},
		{"-U --settings=no", file("PrivateUsers=no"), pick},
	} {
		line, err := readCommandLine(append([]string{"systemd-nspawn"}, strings.Fields(c.line)...))
		if err != nil {
			t.Fatal(err)
		}
		if got := usersOf(line, c.settings); got != c.want {
			t.Errorf("%s: got %v, want %v", c.line, got, c.want)
		}
	}
}

// throwawayPlan plans a machine on a root to be thrown away of a tree, or of a
// disk image.
func throwawayPlan(t *testing.T, path string, o machd.StartOptions, boots bool) (Plan, []command, []command) {
	t.Helper()
	p := properties{}
	p.set("ExecStartEx", []command{{"/usr/bin/systemd-nspawn", []string{"systemd-nspawn", "-q", "-U", "--ephemeral",
		"--link-journal=try-guest", "--machine=m", "--directory=/old", "--", "cmd"}, nil}})
	p.set("ExecStopPostEx", []command{{"/bin/other", []string{"other"}, nil}, {"/usr/bin/systemd-nspawn", []string{"systemd-nspawn", "--cleanup"}, nil}})
	plan := Plan{Name: "m", Options: o, Boots: boots}
	if err := plan.throwAway(p, root{"directory", path}, nil, "/pool", "/libexec/machd"); err != nil {
		t.Fatal(err)
	}
	starts, _ := p["ExecStartEx"].Value().([]command)
	after, _ := p["ExecStopPostEx"].Value().([]command)
	return plan, starts, after
}

func TestTheUnitMakesItsRoot(t *testing.T) {
	t.Parallel()
	tree := t.TempDir()
	plan, starts, after := throwawayPlan(t, tree, machd.StartOptions{Overlay: true}, false)
	want := []command{{"/libexec/machd", []string{"/libexec/machd", "--make-throwaway", "/pool", "m", tree, "pick", "/usr/bin/systemd-nspawn",
		"-q", "-U", "--machine=m", "--link-journal=no", "--directory=/pool/.#machd-run-m/root", "--", "cmd"}, nil}}
	if diff := cmp.Diff(want, starts); diff != "" {
		t.Errorf("it runs (-want +got):\n%s", diff)
	}
	want = []command{
		{"/libexec/machd", []string{"/libexec/machd", "--remove-throwaway", "/pool", "m"}, []string{"ignore-failure", "no-env-expand"}},
		{"/bin/other", []string{"other"}, nil},
	}
	if diff := cmp.Diff(want, after); diff != "" {
		t.Errorf("afterwards it runs (-want +got):\n%s", diff)
	}
	if plan.Throwaway == nil || plan.Throwaway.Image != tree {
		t.Errorf("the root is made of %+v", plan.Throwaway)
	}
}

func TestADiskImageIsNotMountedByUs(t *testing.T) {
	t.Parallel()
	plan, starts, _ := throwawayPlan(t, "/no/such.raw", machd.StartOptions{Ephemeral: true}, false)
	if plan.Throwaway != nil || starts[0].Path != "/usr/bin/systemd-nspawn" || !slices.Contains(starts[0].Argv, "--volatile=overlay") {
		t.Errorf("it runs %+v", starts)
	}
}

// What PID 1 would expand is told to leave it alone, or is written twice where
// the template has variables of its own.
func TestAMachinesOwnWordsAreNotExpanded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		template, argv, want []string
		flags                []string
	}{
		{[]string{"nspawn", "-q"}, []string{"nspawn", "-q", "echo $X $$"}, []string{"nspawn", "-q", "echo $X $$"}, []string{"no-env-expand"}},
		{[]string{"nspawn", "$OPTS"}, []string{"nspawn", "$OPTS", "echo $X"}, []string{"nspawn", "$OPTS", "echo $$X"}, nil},
		{[]string{"nspawn", "$OPTS"}, []string{"nspawn", "$OPTS"}, []string{"nspawn", "$OPTS"}, nil},
		{[]string{"nspawn"}, []string{"nspawn", "plain"}, []string{"nspawn", "plain"}, nil},
	} {
		run := []any{"/nspawn", c.template, []string{}, uint64(0), uint64(0), uint64(0), uint64(0), uint32(0), int32(0), int32(0)}
		files := &template{all: map[string]dbus.Variant{
			"ExecStartEx": dbus.MakeVariantWithSignature([][]any{run}, dbus.ParseSignatureMust("a(sasasttttuii)")),
		}}
		p := properties{}
		p.set("ExecStartEx", []command{{"/nspawn", slices.Clone(c.argv), nil}})
		files.spell(p)
		got := p["ExecStartEx"].Value().([]command)[0]
		if diff := cmp.Diff(command{"/nspawn", c.want, c.flags}, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.argv, diff)
		}
	}
}
