package booted

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/test/live"
)

// A bindTrial is a bind mount of something of the host in a container. Its names
// are below a directory on either side, but for those that begin with a slash
// and those that end in NUL, which are as they are without that.
type bindTrial struct {
	source, destination string
	readOnly, makeDir   bool
}

// bindTrials are all combinations of what matters: what the source is, is of no
// matter to a destination that cannot be had.
func bindTrials() (trials []bindTrial) {
	add := func(sources, destinations []string, readOnly ...bool) {
		for _, source := range sources {
			for _, destination := range destinations {
				for _, makeDir := range []bool{false, true} {
					for _, ro := range readOnly {
						trials = append(trials, bindTrial{source, destination, ro, makeDir})
					}
				}
			}
		}
	}
	add([]string{"dir", "file"}, []string{"dir", "file", "missing", "mounted", "mounted-file", "\x00"}, false, true)
	add([]string{"dir", "file"}, []string{"full", "some/way/down", "to-dir", "to-dir-absolutely", "to-file", "dangling", "loop",
		"to-parent/missing", "to-root/dir", "file/missing", "dir/", "missing/"}, false)
	add([]string{"full", "to-dir", "to-dir-absolutely", "to-file", "dangling", "loop", "fifo", "null", "missing", "dir/", "file/",
		"file/missing", "to-parent/file", "mounted", "/proc", "/"}, []string{"dir", "missing"}, false)
	add([]string{"to-file", "fifo", "null", "file/"}, []string{"file"}, false)
	add([]string{"relative\x00", "/etc/../etc", "/etc/.", "//etc", "\x00"}, []string{"dir", "missing"}, false)
	add([]string{"dir"}, []string{"relative\x00", "/a/../b", "/a/./b", "/a//b", "//", "/proc/new", "/sys/new/dir", "/"}, false)
	return trials
}

// pathOf is a name of a trial, below the directory that its side has.
func pathOf(below, name string) string {
	bare, literal := strings.CutSuffix(name, "\x00")
	if literal || name[0] == '/' {
		return bare
	}
	return below + "/" + name
}

// makeBindThings makes one of everything that can be a source or a destination
// in dir, which they know as known.
func makeBindThings(t *testing.T, dir, known string) {
	t.Helper()
	up := strings.Repeat("../", 20)
	must(t, errors.Join(
		os.MkdirAll(dir+"/dir", 0o755), os.Mkdir(dir+"/full", 0o751), os.Mkdir(dir+"/parent", 0o755),
		os.Mkdir(dir+"/mounted", 0o755), os.WriteFile(dir+"/mounted-file", nil, 0o600),
		os.WriteFile(dir+"/file", []byte("text"), 0o640), os.WriteFile(dir+"/full/file", nil, 0o600),
		os.WriteFile(dir+"/parent/file", nil, 0o600),
		os.Symlink("dir", dir+"/to-dir"), os.Symlink(known+"/dir", dir+"/to-dir-absolutely"), os.Symlink("file", dir+"/to-file"),
		os.Symlink("nowhere", dir+"/dangling"), os.Symlink("loop", dir+"/loop"), os.Symlink("parent", dir+"/to-parent"),
		os.Symlink(up+known[1:], dir+"/to-root"),
		unix.Mkfifo(dir+"/fifo", 0o600), unix.Mknod(dir+"/null", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))),
	))
}

// mountBindThings mounts what is to be a mount, below each of the directories.
const mountBindThings = `for dir; do mount -t tmpfs tmpfs $dir/mounted; mount --bind $dir/full/file $dir/mounted-file; done`

// A bindBench is a container in which bind mounts are tried.
type bindBench struct {
	w                   *watcher
	name, leader, there string // there is the container's root directory
	host                string // what the sources are below
}

func newBindBench(t *testing.T, name string) *bindBench {
	t.Helper()
	b := &bindBench{w: watch(t), name: name, host: t.TempDir()}
	startByHand(t, b.w, name)
	b.leader = fmt.Sprint(b.w.properties(t, name)["Leader"])
	b.there = "/proc/" + b.leader + "/root"
	makeBindThings(t, b.host, b.host)
	run(t, "sh", "-ec", mountBindThings, "sh", b.host)
	t.Cleanup(func() { run(t, "umount", b.host+"/mounted", b.host+"/mounted-file") })
	return b
}

// play makes the bind mounts, and tells what came of each.
func (b *bindBench) play(t *testing.T, trials []bindTrial) (told []string) {
	t.Helper()
	mount := []string{"nsenter", "-t", b.leader, "-m", "sh", "-ec", mountBindThings, "sh"}
	for n, trial := range trials {
		makeBindThings(t, b.there+placeOf(n), placeOf(n))
		if strings.HasPrefix(trial.destination, "mounted") {
			mount = append(mount, placeOf(n))
		}
	}
	run(t, mount...)
	for n, trial := range trials {
		told = append(told, fmt.Sprintf("%q on %q, read-only %v, mkdir %v: %s", trial.source, trial.destination,
			trial.readOnly, trial.makeDir, b.try(t, trial, placeOf(n))))
	}
	return told
}

// placeOf is the directory in the container where a trial's destinations are.
func placeOf(trial int) string { return fmt.Sprintf("/srv/%d", trial) }

// try makes one bind mount in the container, below a directory there.
func (b *bindBench) try(t *testing.T, trial bindTrial, place string) string {
	t.Helper()
	host := b.host
	if trial.destination == "\x00" { // it has the source's name
		host = t.TempDir()
		makeBindThings(t, host, host)
		place = host
		must(t, os.MkdirAll(b.there+place, 0o755))
		if trial.readOnly {
			makeBindThings(t, b.there+place, place)
		}
	}
	mounts, files := mountsOf(t, b.leader), treeOf(t, b.there+place)
	err := b.w.call(t, "BindMountMachine", []any{b.name, pathOf(host, trial.source), pathOf(place, trial.destination),
		trial.readOnly, trial.makeDir})
	result := "done"
	if err != nil {
		result = machine1.ErrorName(err)
	}
	now := mountsOf(t, b.leader)
	for _, changed := range []struct {
		what       string
		all, known []string
	}{{"mounted", now, mounts}, {"unmounted", mounts, now}, {"made", treeOf(t, b.there+place), files}} {
		if rest := without(changed.all, changed.known); len(rest) > 0 {
			result += fmt.Sprintf(", %s %q", changed.what, rest)
		}
	}
	// The root of a mount is told from the top of its file system on.
	_, onFS, _ := strings.Cut(host[1:], "/")
	return strings.NewReplacer(host, "HOST", "/"+onFS, "HOST", place+"/", "", b.name, "NAME").Replace(result)
}

// mountsOf tells the mounts of a process: where, what and how.
func mountsOf(t *testing.T, pid string) (mounts []string) {
	t.Helper()
	table, err := os.ReadFile("/proc/" + pid + "/mountinfo")
	must(t, err)
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		how, _, _ := strings.Cut(fields[5], ",")
		mounts = append(mounts, fmt.Sprintf("%s of %s %s", fields[4], fields[3], how))
	}
	return mounts
}

// treeOf tells the files below a directory, but what is mounted there.
func treeOf(t *testing.T, dir string) (files []string) {
	t.Helper()
	top, err := os.Stat(dir)
	must(t, err)
	must(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		stat := info.Sys().(*syscall.Stat_t)
		if entry.IsDir() && stat.Dev != top.Sys().(*syscall.Stat_t).Dev {
			return fs.SkipDir
		}
		files = append(files, fmt.Sprintf("%s %v %d:%d", strings.TrimPrefix(path, dir), info.Mode(), stat.Uid, stat.Gid))
		return nil
	}))
	return files
}

// without returns what is in all and not in some.
func without(all, some []string) (rest []string) {
	some = slices.Clone(some)
	for _, one := range all {
		if i := slices.Index(some, one); i >= 0 {
			some = slices.Delete(some, i, i+1)
			continue
		}
		rest = append(rest, one)
	}
	return rest
}

// bindsApart are where machd's bind mounts are not systemd-machined's, on
// purpose.
var bindsApart = []apart{
	{`"dir" on "/", `, 0, 0, "org.freedesktop.DBus.Error.InvalidArgs", "nothing in the machine would see it, and nothing else could be reached"},
	{`"file" on "missing/", `, 258, 0, "System.Error.ENOTDIR", "as 262 says"},
	{`"file" on "missing/", `, 0, 258, "System.Error.ENOTDIR", "but nothing is left of it"},
	{`"file/" on `, 258, 0, "System.Error.ENOTDIR", "as 262 says"},
	{`"dir" on "/sys/new/dir", `, 258, 0, "System.Error.EROFS", "as 262 says"},
	{`"dir" on "dangling", `, 0, 258, "org.freedesktop.DBus.Error.InvalidArgs", "what the link leads to is not made in vain"},
	{`"file" on "dangling", `, 0, 258, "done, mounted [\"dangling of", "what the link leads to is not made in vain"},
	{`"dir" on "loop", `, 0, 258, "org.freedesktop.DBus.Error.InvalidArgs", "where a link leads to does not matter, as in 257"},
	{`"file" on "loop", `, 0, 258, "done, mounted [\"loop of", "where a link leads to does not matter, as in 257"},
}

func TestMachdBindsAreStocks(t *testing.T) {
	useStock(t)
	want := newBindBench(t, "bind-under-stock").play(t, bindTrials())
	useMachd(t)
	got := newBindBench(t, "bind-under-machd").play(t, bindTrials())
	wantSame(t, want, got, bindsApart)
}

// An apart is an outcome of machd's that is not systemd-machined's, on purpose.
type apart struct {
	trial         string // a part of what it is told as
	before, since int    // the versions of systemd that do it otherwise; 0 is any
	outcome       string // what machd's begins with
	why           string
}

func (a apart) here() bool {
	return live.Host.Version >= a.since && (a.before == 0 || live.Host.Version < a.before)
}

func (a apart) explains(told string) bool {
	trial, outcome, _ := strings.Cut(told, ": ")
	return a.here() && strings.Contains(trial, a.trial) && strings.HasPrefix(outcome, a.outcome)
}

// wantSame compares what is told of the same trials, but for what is known to be
// apart, and is still.
func wantSame(t *testing.T, stock, machd []string, known []apart) {
	t.Helper()
	needed := map[int]bool{}
	for n := range stock {
		if stock[n] == machd[n] {
			continue
		}
		row := slices.IndexFunc(known, func(a apart) bool { return a.explains(machd[n]) })
		if row < 0 {
			t.Errorf("stock: %s\nmachd: %s", stock[n], machd[n])
		}
		needed[row] = true
	}
	for n, a := range known {
		if a.here() && !needed[n] {
			t.Errorf("stock does the same now: %+v", a)
		}
	}
}
