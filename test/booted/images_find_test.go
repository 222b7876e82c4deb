package booted

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
)

// oddImages makes entries of every kind that may be in a directory of images,
// with "find" in their names, and a few that are none.
const oddImages = `set -e
cd /var/lib/machines
mkdir find-dir .find-hidden 'find sp' find-x.roothash .sysupdate.find .find.v find-both
mkfifo find-fifo; truncate -s 1M find-file find-raw.raw find-ro.raw find-both.raw find-r2.raw.raw
chmod 444 find-ro.raw
mkdir -p /srv/find/tree; truncate -s 1M /srv/find/disk
ln -s /srv/find/tree find-ltree; ln -s /srv/find/disk find-ldisk.raw; ln -s nowhere find-dangling
ln -s /usr find-vendor
mkdir -p find-v1.v/find-v1_1.0 find-v1.v/find-v1_1.9 find-v1.v/find-v1_1.10
mkdir -p find-v2.v/find-v2_2_x86-64 find-v2.v/find-v2_2_x86 find-v2.v/find-v2_2 find-v2.v/find-v2_9_s390x
mkdir find-v3.raw.v find-v4.raw.v find-v5.v find-v6.v find-v6.v/other_1
for f in 1+0 2+0-3 1+3-1 1+3 1+2 0.9; do truncate -s 1M find-v3.raw.v/find-v3_$f.raw; done
for f in 1+0 2+0-3; do truncate -s 1M find-v4.raw.v/find-v4_$f.raw; done
mkdir -p find-v7.v/find-v7_9_mine find-v8.v/find-v8_1 find-v8
mkdir find-v10.v; ln -s /srv/find/tree find-v10.v/find-v10_5; mkdir find-v10.v/find-v10_4
mkdir -p /run/machines/find-v1.v/find-v1_0.1
mkdir find-m1.mstack find-m2.mstack find-m2.mstack/layer@1 find-m3.mstack.v find-m3.mstack.v/find-m3_1.mstack
mkdir find-v11.v find-v11.v/find-v11_1~rc1 find-v11.v/find-v11_0.9
`

// What is found: a name's type, read-only or not, and path.
var foundEverywhere = map[string]string{
	"find-dir": "directory rw /var/lib/machines/find-dir", "find sp": "directory rw /var/lib/machines/find sp",
	"find-x.roothash": "directory rw /var/lib/machines/find-x.roothash",
	"find-both":       "directory rw /var/lib/machines/find-both",
	"find-raw":        "raw rw /var/lib/machines/find-raw.raw", "find-ro": "raw ro /var/lib/machines/find-ro.raw",
	"find-r2.raw": "raw rw /var/lib/machines/find-r2.raw.raw",
	"find-v1":     "directory rw /run/machines/find-v1.v/find-v1_0.1",
	"find-v2":     "directory rw /var/lib/machines/find-v2.v/find-v2_2_x86-64",
	"find-v3":     "raw rw /var/lib/machines/find-v3.raw.v/find-v3_1+3.raw",
	"find-v4":     "raw rw /var/lib/machines/find-v4.raw.v/find-v4_2+0-3.raw",
	"find-v7":     "directory rw /var/lib/machines/find-v7.v/find-v7_9_mine",
	"find-v8":     "directory rw /var/lib/machines/find-v8",
}

// What is found otherwise by systemd 262 and machd.
var foundByNew = map[string]string{
	".find-hidden": "directory ro /var/lib/machines/.find-hidden",
	"find-ltree":   "directory rw /srv/find/tree", "find-ldisk": "raw rw /srv/find/disk",
	"find-vendor": "directory ro /usr", "find-v10": "directory rw /srv/find/tree",
	"find-m1": "mstack rw /var/lib/machines/find-m1.mstack", "find-m2": "mstack ro /var/lib/machines/find-m2.mstack",
	"find-m3":  "mstack rw /var/lib/machines/find-m3.mstack.v/find-m3_1.mstack",
	"find-v11": "directory rw /var/lib/machines/find-v11.v/find-v11_1~rc1",
}

func TestImagesAreFound(t *testing.T) {
	layOut(t)
	got := findImages(t)
	for name, want := range foundEverywhere {
		if got[name] != want {
			t.Errorf("%s: got %q, want %q", name, got[name], want)
		}
	}
}

// TestNewImagesAreFound is for a daemon like that of systemd 262.
func TestNewImagesAreFound(t *testing.T) {
	layOut(t)
	want := map[string]string{}
	for _, found := range []map[string]string{foundEverywhere, foundByNew} {
		for name, what := range found {
			want[name] = what
		}
	}
	if diff := cmp.Diff(want, findImages(t)); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
}

func layOut(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		for _, pattern := range []string{"/var/lib/machines/*find*", "/var/lib/machines/.*find*", "/run/machines/find*", "/srv/find"} {
			paths, _ := filepath.Glob(pattern)
			for _, path := range paths {
				os.RemoveAll(path)
			}
		}
	})
	if out, err := exec.Command("bash", "-c", oddImages).CombinedOutput(); err != nil {
		t.Fatalf("cannot lay out images: %v: %s", err, out)
	}
}

// findImages asks every object of an image that layOut made. What is listed
// but has no object is left out.
func findImages(t *testing.T) map[string]string {
	t.Helper()
	conn := dial(t)
	var images []struct {
		Name, Type        string
		ReadOnly          bool
		Created, Modified uint64
		Usage             uint64
		Path              dbus.ObjectPath
	}
	must(t, call(t, conn, "ListImages", nil, &images))
	found := map[string]string{}
	for _, image := range images {
		if !strings.Contains(image.Name, "find") {
			continue
		}
		var values map[string]dbus.Variant
		target := bus.Target{Name: machine1.BusName, Path: image.Path}
		must(t, bus.Call(t.Context(), conn, target, "org.freedesktop.DBus.Properties.GetAll", false,
			[]any{machine1.ImageInterface}, &values))
		access := "rw"
		if values["ReadOnly"].Value() == true {
			access = "ro"
		}
		found[image.Name] = fmt.Sprint(values["Type"].Value(), " ", access, " ", values["Path"].Value())
	}
	return found
}
