package image_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/pkg/machine1"
)

func TestListAndGetAgree(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		// Entries of the first and second directory: "NAME/" is a
		// directory, "NAME|" a FIFO, "NAME>TARGET" a link, else a file.
		first, second []string
		want          []string // NAME=entry
	}{
		{"a directory is an image by its name", []string{"a/"}, nil, []string{"a=1/a"}},
		{"a file needs the suffix", []string{"a", "b.raw"}, nil, []string{"b=1/b.raw"}},
		{"a directory may end in .raw", []string{"a.raw/"}, nil, []string{"a.raw=1/a.raw"}},
		{"the directory wins over the file beside it", []string{"a.raw", "a/"}, nil, []string{"a=1/a"}},
		{"a file called NAME does not hide NAME.raw", []string{"a", "a.raw"}, nil, []string{"a=1/a.raw"}},
		{"the first directory wins", []string{"a.raw"}, []string{"a/"}, []string{"a=1/a.raw"}},
		{"the second directory adds", []string{"a/"}, []string{"b/"}, []string{"a=1/a", "b=2/b"}},
		{"links are followed and resolved", []string{"a>../2/real", "b.raw>../2/disk"},
			[]string{"real/", "disk"}, []string{"a=2/real", "b=2/disk", "real=2/real"}},
		{"a dangling link is nothing", []string{"a>nowhere", "b.raw>nowhere"}, []string{"a/"}, []string{"a=2/a"}},
		{"a loop of links is nothing", []string{"a>b", "b>a"}, nil, nil},
		{"temporary and lock files are no images", []string{".#a/", ".#a.lck", ".sysupdate.a/"}, nil, nil},
		{"hidden images are images", []string{".a/", ".b.raw"}, nil, []string{".a=1/.a", ".b=1/.b.raw"}},
		{"other files are no images", []string{"a.nspawn", "a.roothash", "a|", "a.raw|"}, nil, nil},
		{"of versions it is the newest", []string{"a.v/", "a.v/a_1.9/", "a.v/a_1.10/", "a.v/a_1.9.1/"}, nil,
			[]string{"a=1/a.v/a_1.10"}},
		{"versions of raw images", []string{"b.raw.v/", "b.raw.v/b_1.raw", "b.raw.v/b_2.raw/"}, nil,
			[]string{"b=1/b.raw.v/b_1.raw"}},
		{"versions without one hide nothing", []string{"a.v/", "a.v/b_1/"}, []string{"a/"}, []string{"a=2/a"}},
		{"versions hide what they override", []string{"a.v/", "a.v/a_1/"}, []string{"a/"}, []string{"a=1/a.v/a_1"}},
		{"versions beside a directory lose", []string{"a.v/", "a.v/a_1/", "a/"}, nil, []string{"a=1/a"}},
		{"a version may be a link", []string{"a.v/", "a.v/a_1>../../2/b"}, []string{"b/"}, []string{"a=2/b", "b=2/b"}},
		{"a link to versions must have their name", []string{"a.v/", "a.v/a_1/", "b.v>a.v"}, nil, []string{"a=1/a.v/a_1"}},
		{"an image may be called a.v", []string{"a.v.v/", "a.v.v/a.v_1/"}, nil, []string{"a.v=1/a.v.v/a.v_1"}},
		{"nothing is not a name", []string{".v/", ".mstack/", ".raw.v/"}, nil, nil},
		{"layers are an image", []string{"c.mstack/", "d.mstack.v/", "d.mstack.v/d_2.mstack/"}, nil,
			[]string{"c=1/c.mstack", "d=1/d.mstack.v/d_2.mstack"}},
		{"a file that ends in .v is nothing", []string{"a.v"}, []string{"a/"}, []string{"a=2/a"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			populate(t, filepath.Join(root, "1"), test.first)
			populate(t, filepath.Join(root, "2"), test.second)
			store := storeOf(filepath.Join(root, "0"), filepath.Join(root, "1"), filepath.Join(root, "2"))

			images, err := store.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if last := images[len(images)-1]; last.Name != machine1.Host || last.Path != "/" {
				t.Errorf("last image is %q at %q, want the host", last.Name, last.Path)
			}
			var got []string
			for _, i := range images[:len(images)-1] {
				got = append(got, i.Name+"="+strings.TrimPrefix(i.Path, root+"/"))
				found, err := store.Get(t.Context(), i.Name)
				if err != nil {
					t.Errorf("Get(%q): %v", i.Name, err)
				}
				if diff := cmp.Diff(i, found); diff != "" {
					t.Errorf("List and Get differ (-list +get):\n%s", diff)
				}
			}
			if diff := cmp.Diff(strings.Join(test.want, " "), strings.Join(got, " ")); diff != "" {
				t.Errorf("images (-want +got):\n%s", diff)
			}
		})
	}
}

func TestGetSaysWhyThereIsNone(t *testing.T) {
	t.Parallel()
	store := storeOf(t.TempDir())
	tests := []struct {
		name, text string
		kind       error
	}{
		{"a", "No image 'a' known", machine1.ErrNoSuchImage},
		{strings.Repeat("a", 255), "No image '" + strings.Repeat("a", 255) + "' known", machine1.ErrNoSuchImage},
		{"..", "Image name '..' is invalid.", machine1.ErrInvalidArgs},
		{"a/b", "Image name 'a/b' is invalid.", machine1.ErrInvalidArgs},
		{"", "Image name '' is invalid.", machine1.ErrInvalidArgs},
	}
	for _, test := range tests {
		_, err := store.Get(t.Context(), test.name)
		if !errors.Is(err, test.kind) || err.Error() != test.text {
			t.Errorf("Get(%q): got %v, want %q", test.name, err, test.text)
		}
	}
}

func TestRawImage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "a.raw")
	write(t, path, strings.Repeat("x", 5000))
	if err := os.Truncate(path, 10<<30); err != nil {
		t.Fatal(err)
	}
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		t.Fatal(err)
	}
	store := storeOf(dir)
	got, err := store.Get(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	want := image.Image{
		Name: "a", Type: image.TypeRaw, Path: path,
		Created: got.Created, Modified: uint64(stat.Mtim.Sec)*1e6 + uint64(stat.Mtim.Nsec)/1e3,
		Usage: uint64(stat.Blocks) * 512, UsageExclusive: uint64(stat.Blocks) * 512,
		Limit: 10 << 30, LimitExclusive: 10 << 30,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("raw image (-want +got):\n%s", diff)
	}
	if got.Created != 0 && (got.Created > got.Modified || got.Modified-got.Created > 60e6) {
		t.Errorf("created %d, modified %d", got.Created, got.Modified)
	}
	if err := os.Chmod(path, 0o444); err != nil {
		t.Fatal(err)
	}
	if got, _ := store.Get(t.Context(), "a"); !got.ReadOnly {
		t.Error("an image without write bits is not read-only")
	}
}

func TestDirectoryImage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	populate(t, dir, []string{"a/", ".b/"})
	store := storeOf(dir)
	got, err := store.Get(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	want := image.Image{
		Name: "a", Type: image.TypeDirectory, Path: dir + "/a", Created: got.Created,
		Usage: image.Unknown, Limit: image.Unknown, UsageExclusive: image.Unknown, LimitExclusive: image.Unknown,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("directory (-want +got):\n%s", diff)
	}
	if hidden, _ := store.Get(t.Context(), ".b"); !hidden.ReadOnly {
		t.Error("a hidden image is not read-only")
	}
	vendor, err := storeOf("/").Get(t.Context(), "usr")
	if err != nil || !vendor.ReadOnly {
		t.Errorf("image /usr: read-only %v, %v; want read-only", vendor.ReadOnly, err)
	}
}

func TestBlockDevices(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("making device nodes needs root")
	}
	dir := t.TempDir()
	// The second number is a loop device that surely does not exist.
	for name, device := range map[string]uint64{"a": unix.Mkdev(7, 0), "b": unix.Mkdev(7, 1<<19)} {
		if err := unix.Mknod(filepath.Join(dir, name), unix.S_IFBLK|0o600, int(device)); err != nil {
			t.Fatal(err)
		}
	}
	store := storeOf(dir)
	gone, err := store.Get(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	want := image.Image{
		Name: "b", Type: image.TypeBlock, Path: dir + "/b",
		Usage: image.Unknown, Limit: image.Unknown, UsageExclusive: image.Unknown, LimitExclusive: image.Unknown,
	}
	if diff := cmp.Diff(want, gone); diff != "" {
		t.Errorf("device that is gone (-want +got):\n%s", diff)
	}
	text, err := os.ReadFile("/sys/dev/block/7:0/size")
	if err != nil {
		t.Skip("there is no loop0 to read the size of")
	}
	var sectors uint64
	fmt.Sscan(string(text), &sectors)
	size := sectors * 512
	if size == 0 { // there is nothing in it
		size = image.Unknown
	}
	device, err := store.Get(t.Context(), "a")
	if err != nil || device.Usage != size || device.LimitExclusive != size {
		t.Errorf("loop0: usage %d, %v; want %d", device.Usage, err, size)
	}
}

func TestReadOnlyFileSystem(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	populate(t, dir, []string{"a/", "b.raw"})
	mount(t, dir, dir, "", unix.MS_BIND, "")
	mount(t, "", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
	for _, name := range []string{"a", "b"} {
		got, err := storeOf(dir).Get(t.Context(), name)
		if err != nil || !got.ReadOnly {
			t.Errorf("%s: read-only %v, %v; want read-only", name, got.ReadOnly, err)
		}
	}
}

func TestImmutableDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	populate(t, dir, []string{"a/"})
	makeImmutable(t, dir+"/a")
	got, err := storeOf(dir).Get(t.Context(), "a")
	if err != nil || !got.ReadOnly {
		t.Errorf("read-only %v, %v; want read-only", got.ReadOnly, err)
	}
}

func makeImmutable(t *testing.T, path string) {
	t.Helper()
	if out, err := exec.Command("chattr", "+i", path).CombinedOutput(); err != nil {
		t.Skipf("cannot make anything immutable here: %s", out)
	}
	t.Cleanup(func() { exec.Command("chattr", "-i", path).Run() })
}

func TestSubvolume(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	disk, dir := filepath.Join(t.TempDir(), "disk"), t.TempDir()
	write(t, disk, "")
	if err := os.Truncate(disk, 128<<20); err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs.btrfs", "-q", disk)
	run(t, "mount", "-o", "loop", disk, dir)
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	run(t, "btrfs", "subvolume", "create", dir+"/a")
	run(t, "btrfs", "subvolume", "snapshot", "-r", dir+"/a", dir+"/b")
	populate(t, dir, []string{"c/"})

	images, err := storeOf(dir).List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"a subvolume false", "b subvolume true", "c directory false", ".host directory true"}
	var got []string
	for _, i := range images {
		if i.Name == machine1.Host {
			i.Type = image.TypeDirectory // whatever this host's root is
		}
		got = append(got, fmt.Sprint(i.Name, " ", i.Type, " ", i.ReadOnly))
		if i.Type == image.TypeSubvolume && (i.Created == 0 || i.Modified == 0 || i.Usage != image.Unknown) {
			t.Errorf("%s: created %d, modified %d, usage %d", i.Name, i.Created, i.Modified, i.Usage)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
}

func TestListEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := storeOf(t.TempDir()).List(ctx)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want cancelled", err)
	}
}

func BenchmarkGet(b *testing.B) {
	store := image.NewStore(image.Config{Dirs: append(image.SystemConfig().Dirs, bigDir(b, 1000)), Host: true})
	for b.Loop() {
		if _, err := store.Get(b.Context(), "m500"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkList1000(b *testing.B) {
	store := storeOf(bigDir(b, 1000))
	for b.Loop() {
		if _, err := store.List(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func bigDir(tb testing.TB, n int) string {
	dir := tb.TempDir()
	for i := range n {
		populate(tb, dir, []string{fmt.Sprintf("m%d/", i)})
	}
	return dir
}

func populate(tb testing.TB, dir string, entries []string) {
	tb.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		tb.Fatal(err)
	}
	for _, e := range entries {
		var err error
		switch link, target, isLink := strings.Cut(e, ">"); {
		case isLink:
			err = os.Symlink(target, filepath.Join(dir, link))
		case strings.HasSuffix(e, "/"):
			err = os.Mkdir(filepath.Join(dir, e), 0o755)
		case strings.HasSuffix(e, "|"):
			err = unix.Mkfifo(filepath.Join(dir, strings.TrimSuffix(e, "|")), 0o600)
		default:
			write(tb, filepath.Join(dir, e), "")
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
}

func write(tb testing.TB, path, text string) {
	tb.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		tb.Fatal(err)
	}
}

func mount(t *testing.T, source, target, fstype string, flags uintptr, data string) {
	t.Helper()
	if err := unix.Mount(source, target, fstype, flags, data); err != nil {
		t.Skipf("cannot mount here: %v", err)
	}
	if flags&unix.MS_REMOUNT == 0 {
		t.Cleanup(func() { unix.Unmount(target, unix.MNT_DETACH) })
	}
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Skipf("cannot run %s %s here: %v\n%s", name, args, err, out)
	}
}

// storeOf is the store of what is in dirs, and of the host.
func storeOf(dirs ...string) *image.Store {
	return image.NewStore(image.Config{Dirs: dirs, Host: true})
}
