package launch

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// templates is a service manager that knows one unit, and of every other one
// that there is none.
type templates struct {
	Units // for what no test here asks
	name  string
	unit  map[string]any
}

func (u templates) Properties(_ context.Context, name string) (map[string]dbus.Variant, error) {
	all := map[string]any{"LoadState": "not-found", "TasksMax": uint64(999), "Restart": "no", "Slice": "", "After": []string{}}
	if name == u.name {
		maps.Copy(all, u.unit)
	}
	variants := map[string]dbus.Variant{}
	for name, value := range all {
		variants[name] = dbus.MakeVariant(value)
	}
	return variants, nil
}

// stockUnit is what PID 1 tells of the instance of the template for machine m,
// with more.
func stockUnit(more map[string]any) map[string]any {
	all := map[string]any{
		"LoadState": "loaded", "FragmentPath": "/usr/lib/systemd/system/systemd-nspawn@.service", "UnitFileState": "disabled",
		"DropInPaths": []string{}, "TasksMax": uint64(16384), "Slice": "machine.slice", "Description": "Container m",
		"After": []string{"network.target", "machine.slice"}, "Requires": []string{"machine.slice"},
		"RequiresMountsFor": []string{"/var/lib/machines/m"},
		"ExecStartEx": []any{[]any{"systemd-nspawn", strings.Fields(stockLine), []string{},
			uint64(0), uint64(0), uint64(0), uint64(0), uint32(0), int32(0), int32(0)}},
		"DeviceAllow": []any{[]any{"char-pts", "rw"}, []any{"/dev/net/tun", "rwm"}},
		"MainPID":     uint32(7), "ActiveState": "inactive",
	}
	maps.Copy(all, more)
	return all
}

// newPlanner returns a launcher that can plan, on a host with an image m and
// whatever PID 1 tells of its unit.
func newPlanner(t *testing.T, unit map[string]any) *Launcher {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	root, pool := t.TempDir(), t.TempDir()
	for _, dir := range []string{filepath.Join(pool, "m"), filepath.Join(pool, "other"), filepath.Join(root, "etc")} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "etc/machine-id"), []byte("0123456789abcdef0123456789abcdef\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	machines, err := machine.New(machine.Config{Dir: filepath.Join(root, "machines"), Root: root, Emit: func(machine.Event) {}, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	images := image.NewStore(image.Config{Dirs: []string{pool}, Pool: pool, LockDir: filepath.Join(root, "locks")})
	return New(Config{Units: templates{name: "systemd-nspawn@m.service", unit: unit}, Machines: machines, Images: images, Log: log})
}

func valueOf(plan Plan, name string) any {
	for _, p := range plan.Properties {
		if p.Name == name {
			return p.Value.Value()
		}
	}
	return nil
}

func TestAPlanHasWhatTheTemplateHas(t *testing.T) {
	t.Parallel()
	l := newPlanner(t, stockUnit(map[string]any{"JobTimeoutUSec": uint64(5), "LimitNOFILESoft": uint64(1), "LimitNOFILE": uint64(2)}))
	plan, err := l.Plan(t.Context(), "m", machd.StartOptions{
		Limits: machd.Limits{IOWeight: "7"}, Slice: "own.slice", Protect: true, Restart: machd.RestartAlways, StopTimeout: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	if plan.Unit != "machine-m.service" || plan.Existing || !plan.Boots {
		t.Errorf("the plan is %+v", plan)
	}
	run, _ := valueOf(plan, "ExecStartEx").([]command)
	if len(run) != 1 || !strings.HasPrefix(strings.Join(slices.Delete(slices.Clone(run[0].Argv), 1, 2), " "), stockLine+" --directory=") ||
		run[0].Argv[1] != "--register=yes" {
		t.Errorf("it runs %v", run)
	}
	for name, want := range map[string]any{
		"TasksMax": uint64(16384), "Slice": "own.slice", "AddRef": true, "CollectMode": "inactive-or-failed", "IOWeight": uint64(7),
		"After": []string{"network.target", "machd.target"}, "Requires": []string{}, "Before": []string{"machine@m.service"},
		"ExecStopPostEx": []command{removeExport("m")}, "RefuseManualStop": true, "Restart": "always", "TimeoutStopUSec": uint64(60_000_000),
		"LimitNOFILE": uint64(2), "MainPID": nil, "FragmentPath": nil, "JobTimeoutUSec": nil,
	} {
		if diff := cmp.Diff(want, valueOf(plan, name)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if devices := shownStructure(dbus.MakeVariant(valueOf(plan, "DeviceAllow"))); devices != "[{/dev/net/tun rwm} {char-pts rw}]" {
		t.Errorf("devices are %s, and PID 1 turns the list around", devices)
	}
	if want := []string{"only a unit with a file can have what the files of systemd-nspawn@m.service say of JobTimeoutUSec"}; !slices.Equal(plan.Notes, want) {
		t.Errorf("the notes are %q", plan.Notes)
	}
}

// Later ones clean up by themselves.
func TestATemplateThatCleansUpIsLeftToIt(t *testing.T) {
	t.Parallel()
	l := newPlanner(t, stockUnit(map[string]any{
		"ExecStopPostEx": []any{[]any{"systemd-nspawn", []string{"systemd-nspawn", "--cleanup", "--machine=m"}, []string{}}},
	}))
	plan, err := l.Plan(t.Context(), "m", machd.StartOptions{})
	if post, _ := valueOf(plan, "ExecStopPostEx").([]command); err != nil || len(post) != 1 {
		t.Errorf("at its end it runs %v, %v", post, err)
	}
}

func TestAnAdministratorsUnitIsStartedAsItIs(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		unit     map[string]any
		existing bool
	}{
		"nothing":                       {nil, false},
		"a drop-in for all":             {map[string]any{"DropInPaths": []string{"/etc/systemd/system/systemd-nspawn@.service.d/a.conf"}}, false},
		"a drop-in for all services":    {map[string]any{"DropInPaths": []string{"/etc/systemd/system/service.d/a.conf"}}, false},
		"a drop-in":                     {map[string]any{"DropInPaths": []string{"/run/systemd/system/systemd-nspawn@m.service.d/a.conf"}}, true},
		"a file":                        {map[string]any{"FragmentPath": "/etc/systemd/system/systemd-nspawn@m.service"}, true},
		"it is enabled":                 {map[string]any{"UnitFileState": "enabled"}, true},
		"somebody wants it":             {map[string]any{"WantedBy": []string{"x.target"}}, true},
		"somebody requires it":          {map[string]any{"RequiredBy": []string{"x.service"}}, true},
		"it is masked":                  {map[string]any{"LoadState": "masked"}, true},
		"there is no template (rather)": {map[string]any{"LoadState": "not-found", "FragmentPath": ""}, false},
	} {
		l := newPlanner(t, stockUnit(c.unit))
		plan, err := l.Plan(t.Context(), "m", machd.StartOptions{Wait: machd.WaitNo, WaitTimeout: time.Second})
		if plan.Existing != c.existing || c.existing && (plan.Unit != "systemd-nspawn@m.service" || plan.Properties != nil) {
			t.Errorf("%s: %+v, %v", what, plan, err)
		}
		with, err := l.Plan(t.Context(), "m", machd.StartOptions{Hostname: "h"})
		if with.Existing || err == nil && with.Unit != "machine-m.service" {
			t.Errorf("%s, with an option: %+v, %v", what, with, err)
		}
		if loaded := what != "it is masked" && what != "there is no template (rather)"; (err == nil) != loaded {
			t.Errorf("%s, with an option: %v", what, err)
		}
	}
}

func TestAPlanThatCannotBe(t *testing.T) {
	t.Parallel()
	other := []any{[]any{"/opt/run", []string{"/opt/run", "m"}, []string{}}}
	odd := []any{[]any{"systemd-nspawn", []string{"systemd-nspawn", "--from-the-future", "-M", "m"}, []string{}}}
	for what, c := range map[string]struct {
		unit    map[string]any
		name    string
		options machd.StartOptions
		kind    error // nil if it can be
	}{
		"another program":                {map[string]any{"ExecStartEx": other}, "m", machd.StartOptions{Hostname: "h"}, machine1.ErrNotSupported},
		"an option that nobody knows":    {map[string]any{"ExecStartEx": odd}, "m", machd.StartOptions{Hostname: "h"}, machine1.ErrNotSupported},
		"two commands":                   {map[string]any{"ExecStartEx": append(slices.Clone(other), other...)}, "m", machd.StartOptions{Hostname: "h"}, machine1.ErrNotSupported},
		"a name":                         {nil, "no_name", machd.StartOptions{}, machine1.ErrInvalidArgs},
		"no image":                       {nil, "m", machd.StartOptions{Image: "nope"}, machine1.ErrNoSuchImage},
		"another image":                  {nil, "m", machd.StartOptions{Image: "other"}, nil},
		"a directory":                    {nil, "m", machd.StartOptions{Directory: "/"}, nil},
		"a clone of what there is not":   {nil, "m", machd.StartOptions{From: "nope"}, machine1.ErrNoSuchImage},
		"a clone over what there is":     {nil, "m", machd.StartOptions{From: "other"}, os.ErrExist},
		"a VM of a host without vmspawn": {nil, "m", machd.StartOptions{VM: true}, machine1.ErrNotSupported},
	} {
		l := newPlanner(t, stockUnit(c.unit))
		_, err := l.Plan(t.Context(), c.name, c.options)
		if (c.kind == nil) != (err == nil) || c.kind != nil && !errors.Is(err, c.kind) {
			t.Errorf("%s: %v, want %v", what, err, c.kind)
		}
	}
}

func TestOptionsOfVmspawn(t *testing.T) {
	t.Parallel()
	for argument, fine := range map[string]bool{
		"--kvm=no": true, "--ram=1G": true, "--image-format=qcow2": true, "--linux=/boot/vmlinuz": true,
		"--image=/x": false, "--im=/x": false, "--machine=x": false, "--keep-unit": false, "-n": false, "-M": false, "word": false,
		"--": false, "--=x": false, "--KVM=no": false, "": false,
	} {
		err := checkVMArguments([]string{"--tpm=no", argument})
		if (err == nil) != fine || err != nil && !errors.Is(err, machine1.ErrInvalidArgs) {
			t.Errorf("%q: %v", argument, err)
		}
	}
	o := machd.StartOptions{VM: true, Ephemeral: true, Bind: []string{"/srv"}, Arguments: []string{"--ram=1G"}}
	given := []string{"--ephemeral", "--bind=/srv", "--ram=1G"}
	// What is given overrules the template, but comes before what is no option.
	if got, want := vmArguments([]string{"vmspawn", "--ram=2G"}, o, root{}), append([]string{"vmspawn", "--ram=2G"}, given...); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	want := slices.Concat([]string{"vmspawn"}, given, []string{"-M", "m", "quiet"})
	if got := vmArguments([]string{"vmspawn", "-M", "m", "quiet"}, o, root{}); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestChangesAreToldAgainstTheTemplate(t *testing.T) {
	t.Parallel()
	l := newPlanner(t, stockUnit(nil))
	unit, changes, err := l.PlanStart(t.Context(), "m", machd.StartOptions{
		Image: "other", Bind: []string{"/etc:/mnt"}, BindReadOnly: []string{"/usr"}, PrivateUsers: "no", Boot: "no", Command: []string{"sh", "-c", "a b"},
		Limits: machd.Limits{Tasks: "5%", Memory: "1G"}, Restart: machd.RestartAlways,
	})
	if err != nil || unit != "machine-m.service" {
		t.Fatalf("%q, %v", unit, err)
	}
	var lines []string
	for _, c := range changes {
		if c.Name == "RequiresMountsFor" || c.Name == "--directory" {
			continue
		}
		lines = append(lines, c.Kind+" "+c.Name+": "+c.From+" -> "+c.To)
	}
	want := []string{
		"argument --boot: yes -> ",
		"argument --private-users: pick -> no",
		"argument --as-pid2:  -> yes",
		"mount /mnt:  -> /etc",
		"mount /usr:  -> /usr (read-only)",
		`argument command:  -> sh -c "a b"`,
		"property MemoryMax:  -> 1G",
		"property Restart:  -> always",
		"property TasksMax: 16384 -> 5%",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if _, changes, err := l.PlanStart(t.Context(), "other", machd.StartOptions{}); err == nil {
		t.Errorf("a host without a template plans %v", changes)
	}
}

// What an image's owner has put beside it is read like settings, or not at all.
func TestSettingsBesideAnImageAreHostile(t *testing.T) {
	t.Parallel()
	const machine = "machd-test-hostile" // nobody has settings for it
	for what, c := range map[string]struct {
		make func(path string) error
		read bool
	}{
		"settings": {func(path string) error { return os.WriteFile(path, []byte("[Exec]\nBoot=no\n"), 0o644) }, true},
		"a FIFO":   {func(path string) error { return unix.Mkfifo(path, 0o666) }, false},
		"too much": {func(path string) error { return os.WriteFile(path, make([]byte, 2<<20), 0o644) }, false},
		"a folder": {func(path string) error { return os.Mkdir(path, 0o755) }, false},
		"nothing":  {func(string) error { return nil }, false},
	} {
		dir := t.TempDir()
		if err := c.make(filepath.Join(dir, machine+".nspawn")); err != nil {
			t.Fatal(err)
		}
		done := make(chan *settingsFile, 1)
		go func() { done <- findSettings(machine, root{path: filepath.Join(dir, "tree")}) }()
		select {
		case s := <-done:
			if (s != nil) != c.read || s != nil && (s.trusted || !s.says(groupStart)) {
				t.Errorf("%s: read %+v", what, s)
			}
		case <-time.After(patience):
			t.Fatalf("%s: it is read for ever", what)
		}
	}
}
