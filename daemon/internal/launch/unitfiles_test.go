package launch

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// A unitDirectory is one with what machd, and an administrator, have written of
// the machine web.
type unitDirectory struct {
	UnitFiles
	t       *testing.T
	reloads int
	failing error // of a reload
}

const (
	webDropIn = "systemd-nspawn@web.service.d/50-machd.conf"
	webLimits = "[Service]\nMemoryMax=300M\nExecStart=\nExecStart=systemd-nspawn --boot --machine=web --directory=/var/lib/machines/web \"--bind=/a b:/web\"\n"
)

func newUnitDirectory(t *testing.T) *unitDirectory {
	t.Helper()
	d := &unitDirectory{t: t}
	d.UnitFiles = UnitFiles{t.TempDir(), func(context.Context) error {
		d.reloads++
		return d.failing
	}}
	d.write(webDropIn, webLimits)
	d.link("machines.target.wants/machine@web.service", "/usr/lib/systemd/system/machine@.service")
	d.link("machines.target.wants/systemd-nspawn@web.service", "/usr/lib/systemd/system/systemd-nspawn@.service")
	d.link("shop.target.requires/systemd-vmspawn@web.service", "../../usr/systemd-vmspawn@.service")
	// What is another machine's, or no machine's.
	d.link("machines.target.wants/machine@web2.service", "/usr/lib/systemd/system/machine@.service")
	d.link("machines.target.wants/getty@web.service", "/usr/lib/systemd/system/getty@.service")
	d.write("systemd-nspawn@web2.service.d/50-machd.conf", "[Service]\nTasksMax=1\n")
	return d
}

func (d *unitDirectory) write(path, text string) {
	d.t.Helper()
	if err := (File{filepath.Join(d.Dir, path), []byte(text), 0o644}).write(); err != nil {
		d.t.Fatal(err)
	}
}

func (d *unitDirectory) link(path, to string) {
	d.t.Helper()
	path = filepath.Join(d.Dir, path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink(to, path)); err != nil {
		d.t.Fatal(err)
	}
}

// all is what is there, with what is in it.
func (d *unitDirectory) all() map[string]string {
	d.t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(d.Dir, func(path string, e fs.DirEntry, err error) error {
		name := strings.TrimPrefix(path, d.Dir+"/")
		switch {
		case err != nil:
			return err
		case e.Type() == fs.ModeSymlink:
			found[name], err = os.Readlink(path)
		case !e.IsDir():
			text, readErr := os.ReadFile(path)
			found[name], err = string(text), readErr
		case !strings.HasSuffix(name, ".wants") && !strings.HasSuffix(name, ".requires"):
			found[name] = "directory"
		}
		return err
	})
	if err != nil {
		d.t.Fatal(err)
	}
	delete(found, d.Dir)
	return found
}

func (d *unitDirectory) want(what string, want map[string]string) {
	d.t.Helper()
	if diff := cmp.Diff(want, d.all()); diff != "" {
		d.t.Errorf("%s: files (-want +got):\n%s", what, diff)
	}
}

// renamed is what is to be there when web is called shop.
func renamed(all map[string]string) map[string]string {
	want := map[string]string{}
	for path, text := range all {
		if !strings.Contains(path, "getty") {
			path = strings.NewReplacer("@web.", "@shop.").Replace(path)
		}
		text = strings.NewReplacer("=web ", "=shop ", "machines/web ", "machines/shop ").Replace(text)
		want[path] = text
	}
	return want
}

func TestRenameTakesTheFilesOfUnitsAlong(t *testing.T) {
	t.Parallel()
	d := newUnitDirectory(t)
	before := d.all()
	undo, err := d.Rename(t.Context(), "web", "shop")
	if err != nil || d.reloads != 1 {
		t.Fatalf("%v after %d reloads", err, d.reloads)
	}
	d.want("renamed", renamed(before))
	if err := undo(); err != nil || d.reloads != 2 {
		t.Errorf("%v after %d reloads", err, d.reloads)
	}
	d.want("taken back", before)

	d.failing = unix.EIO
	if _, err := d.Rename(t.Context(), "web", "shop"); !errors.Is(err, unix.EIO) {
		t.Errorf("PID 1 reads nothing: %v", err)
	}
	d.want("PID 1 reads nothing", before)
}

// A process that was killed in between has left both.
func TestRenameGoesOnWhereItWasLeft(t *testing.T) {
	t.Parallel()
	d := newUnitDirectory(t)
	want := renamed(d.all())
	d.write("systemd-nspawn@shop.service.d/50-machd.conf", want["systemd-nspawn@shop.service.d/50-machd.conf"])
	d.link("machines.target.wants/machine@shop.service", "/usr/lib/systemd/system/machine@.service")
	if _, err := d.Rename(t.Context(), "web", "shop"); err != nil {
		t.Fatal(err)
	}
	d.want("renamed", want)
}

func TestWhatIsSavedForAnotherMachineIsNotOverwritten(t *testing.T) {
	t.Parallel()
	d := newUnitDirectory(t)
	before := d.all()
	if _, err := d.Rename(t.Context(), "web", "web2"); !errors.Is(err, unix.EEXIST) || !strings.Contains(err.Error(), "systemd-nspawn@web2.service.d") {
		t.Errorf("with another's in the way: %v", err)
	}
	if _, err := d.Rename(t.Context(), "web", "a b"); !errors.Is(err, unix.EOPNOTSUPP) {
		t.Errorf("to a name that no machine can have: %v", err)
	}
	for _, names := range [][2]string{{"nobody", "a b"}, {"a b", "nobody"}} {
		if _, err := d.Rename(t.Context(), names[0], names[1]); err != nil {
			t.Errorf("%q: %v", names, err)
		}
	}
	d.want("refused", before)
	if d.reloads != 0 {
		t.Errorf("PID 1 read them %d times", d.reloads)
	}
}

func TestWhatAnAdministratorWroteOfAUnitStays(t *testing.T) {
	t.Parallel()
	d := newUnitDirectory(t)
	const his, own = "systemd-nspawn@web.service.d/mine.conf", "/etc/systemd/system/machine@web.service"
	d.write(his, "[Service]\nNice=5\n")
	d.link("graphical.target.wants/machine@web.service", own)
	d.Remove(t.Context(), "web", true)
	all := d.all()
	if _, there := all[webDropIn]; there || all[his] == "" || all["graphical.target.wants/machine@web.service"] != own {
		t.Errorf("there is %q", all)
	}
	if left := d.enabled("web"); len(left) > 0 {
		t.Errorf("it is still enabled by %v", left)
	}
}

func TestRemoveLeavesNothingOfAMachine(t *testing.T) {
	t.Parallel()
	d := newUnitDirectory(t)
	before := d.all()
	undo := d.Remove(t.Context(), "web", false)
	enabled := d.enabled("web")
	if _, there := d.all()[webDropIn]; there || len(enabled) != 3 || d.reloads != 1 {
		t.Errorf("it is enabled by %v, and there is %q, after %d reloads", enabled, d.all(), d.reloads)
	}
	if err := undo(); err != nil {
		t.Error(err)
	}
	d.want("taken back", before)
	undo = d.Remove(t.Context(), "web", true)
	left := renamed(before)
	for path := range left {
		if strings.Contains(path, "@shop.") {
			delete(left, path)
		}
	}
	d.want("removed", left)
	if err := undo(); err != nil {
		t.Error(err)
	}
	d.want("taken back", before)
}

func TestWhatStartsWithTheHost(t *testing.T) {
	t.Parallel()
	d := newUnitDirectory(t)
	var got []string
	for _, e := range d.Enabled() {
		got = append(got, e.Machine+" "+e.Unit)
		if e.Own(d.Dir) != (e.Machine == "web") { // whose command is saved
			t.Errorf("%v has a command of its own: %t", e, e.Own(d.Dir))
		}
	}
	slices.Sort(got)
	want := []string{"web machine@web.service", "web systemd-nspawn@web.service", "web systemd-vmspawn@web.service", "web2 machine@web2.service"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("enabled are (-want +got):\n%s", diff)
	}
}
