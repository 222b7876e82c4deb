package booted

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/test/live"
)

// longAgo is when every file that changeImages makes was changed last.
var longAgo = time.Unix(1_000_000_000, 0)

// changeImages makes images of every kind in an empty pool, with files of every
// kind in one, and all that can belong to an image.
const changeImages = `set -e
mkdir -p /etc/systemd/nspawn /run/systemd/nspawn /usr/lib/systemd/nspawn /usr/lib/machines /usr/local/lib/machines /srv/change
cd /var/lib/machines
tree() {
  mkdir -p $1/etc $1/deep/er; echo $1 >$1/etc/hostname; echo hello >$1/file
}
tree dir; chmod 2751 dir; chown 1000:1001 dir
cp /bin/true dir/setuid; chown 7:8 dir/setuid; chmod 6755 dir/setuid; ln dir/file dir/hard; ln -s ../file dir/deep/link
ln -s dangling dir/dangling; mkfifo dir/fifo; mknod dir/null c 1 3; truncate -s 2M dir/sparse; echo tail >>dir/sparse
chmod 0 dir/file; mkdir -m 1777 dir/tmp
python3 - <<END
import os
os.setxattr('dir/file', 'user.said', b'yes')
os.setxattr('dir/file', 'trusted.said', b'too')
os.setxattr('dir/setuid', 'security.capability', bytes.fromhex('0100000200200000000000000000000000000000'))
os.setxattr('dir', 'user.top', b'top')
END
for s in nspawn oci-config roothash roothash.p7s usrhash usrhash.p7s verity; do echo $s >dir.$s; done
mkdir dir.raw.tpmstate; echo state >dir.raw.tpmstate/file; echo efi >dir.raw.efinvramstate
for d in /etc /run /usr/lib; do echo $d >$d/systemd/nspawn/dir.nspawn; echo $d >$d/systemd/nspawn/raw.nspawn; done
chmod 600 /etc/systemd/nspawn/dir.nspawn
truncate -s 3M raw.raw; echo tail >>raw.raw; chmod 640 raw.raw; echo beside >raw.nspawn; echo hash >raw.roothash
tree .hidden; tree other; tree plain; tree .hidden2
tree /usr/lib/machines/vendor; tree /usr/local/lib/machines/local; echo beside >/usr/local/lib/machines/local.nspawn
truncate -s 1M /srv/change/disk
numbers=$(stat -c '%Hr %Lr' $(losetup -f --show /srv/change/disk)); mknod -m 660 blk b $numbers
[ $SYSTEMD -lt 262 ] || mkdir -p stack.mstack/layer@1
if [ $(stat -fc %T .) = btrfs ]; then
  btrfs -q subvolume create sub; tree sub; btrfs -q subvolume create sub/inner; tree sub/inner
  btrfs -q subvolume create sub2
  btrfs -q subvolume snapshot -r sub2 subro
fi
find /var/lib/machines /etc/systemd/nspawn /run/systemd/nspawn /usr/lib/systemd/nspawn /usr/local/lib/machines /usr/lib/machines /srv/change \
  -exec touch -h -d @1000000000 {} + 2>/dev/null || true
`

// cleanUpImages removes what changeImages made outside of the pool.
const cleanUpImages = `
for d in $(losetup -j /srv/change/disk -O NAME -n); do blockdev --setrw $d; losetup -d $d; done
chattr -R -i /var/lib/machines 2>/dev/null
chattr -R -i /usr/lib/machines /usr/local/lib/machines 2>/dev/null
rm -rf /usr/lib/machines /usr/local/lib/machines /srv/change /etc/systemd/nspawn /run/systemd/nspawn/*.nspawn /usr/lib/systemd/nspawn
true
`

// A change is a call of the Manager, or of an image's object.
type change struct {
	member string
	args   []any
	object string // the image's name, "" for the Manager
}

func (c change) String() string {
	return strings.TrimSpace(fmt.Sprint(c.object, " ", c.member, " ", c.args))
}

func ofManager(member string, args ...any) change { return change{member, args, ""} }

func ofObject(object, member string, args ...any) change { return change{member, args, object} }

const unlimited = ^uint64(0)

// changes are made one after the other, on any file system.
var changes = slices.Concat(
	// Copies.
	callsOf("CloneImage", []any{"dir", "dir2", false}, []any{"dir", "dirro", true}, []any{"raw", "raw2", false}, []any{"raw", "rawro", true},
		[]any{"dir", "other", false}, []any{"dir", "raw", false}, []any{"nobody", "x", false}, []any{"dir", "bad/name", false},
		[]any{"dir", "", false}, []any{"dir", ".#lock", false}, []any{"dir", ".new", false}, []any{".hidden", "unhidden", false},
		[]any{"vendor", "vendored", false}, []any{"local", "localized", true}, []any{"dir", "dir", false}, []any{"dir", "vendor", false},
		[]any{"blk", "blk2", false}, []any{"stack", "stack2", false}, []any{"dir", ".host", false}, []any{"bad/name", "x", false}),
	// Names.
	callsOf("RenameImage", []any{"dir2", "dir3"}, []any{"dir3", "other"}, []any{"dir3", "dir3"}, []any{"raw2", "raw3"}, []any{"raw3", "dir3"},
		[]any{"dirro", "dirro2"}, []any{"rawro", "rawro2"}, []any{"vendor", "x"}, []any{".host", "x"}, []any{"nobody", "x"},
		[]any{"local", "local2"}, []any{".new", "new"}, []any{"other", ".other"}, []any{"dir3", "bad/name"}, []any{"dir3", ".host"},
		[]any{"blk", "blk3"}, []any{"stack", "stack3"}),
	// Read-only and back.
	callsOf("MarkImageReadOnly", []any{"dir", true}, []any{"dir", true}, []any{"raw", true}, []any{"raw", true}, []any{".hidden", true},
		[]any{".hidden", false}, []any{"vendor", true}, []any{".host", true}, []any{"nobody", true}, []any{"local2", true},
		[]any{"blk3", true}, []any{"stack", true}, []any{"rawro2", false}, []any{"dirro2", false}),
	callsOf("CloneImage", []any{"dir", "fromro", false}, []any{"raw", "rawfromro", false}),
	callsOf("RenameImage", []any{"dir", "dir4"}, []any{"raw", "raw4"}),
	callsOf("MarkImageReadOnly", []any{"dir4", false}, []any{"raw4", false}, []any{"raw4", false}),
	callsOf("MarkImageReadOnly", []any{"dir4", true}),
	// Limits.
	callsOf("SetImageLimit", []any{"dir4", uint64(1 << 30)}, []any{"raw4", uint64(1 << 30)}, []any{"dir4", uint64(1 << 63)}, []any{"vendor", uint64(1)},
		[]any{".host", unlimited}, []any{"nobody", unlimited}, []any{"blk3", uint64(5)}, []any{"stack", uint64(5)}),
	callsOf("SetPoolLimit", []any{uint64(1 << 63)}, []any{uint64(400 << 20)}),
	// Subvolumes: there are none but on btrfs.
	callsOf("CloneImage", []any{"sub", "subsub", false}, []any{"sub", "subsubro", true}, []any{"subro", "fromsubro", false}),
	callsOf("SetImageLimit", []any{"sub", uint64(100 << 20)}, []any{"subsub", uint64(300 << 20)}, []any{"sub2", uint64(1 << 62)}),
	callsOf("CloneImage", []any{"sub", "limited", false}),
	callsOf("RenameImage", []any{"subsub", "sub3"}, []any{"subsubro", "subro3"}, []any{"subro", "subro2"}),
	callsOf("MarkImageReadOnly", []any{"sub3", true}, []any{"subro3", false}, []any{"sub3", true}),
	callsOf("SetImageLimit", []any{"sub", unlimited}),
	callsOf("SetPoolLimit", []any{unlimited}),
	callsOf("RemoveImage", []any{"sub"}, []any{"sub3"}, []any{"subro2"}, []any{"limited"}),
	// The same through objects.
	[]change{
		ofObject("plain", "Clone", "plain2", true), ofObject("plain2", "MarkReadOnly", false), ofObject("plain2", "Rename", "plain3"),
		ofObject("plain3", "SetLimit", uint64(200<<20)), ofObject("plain3", "Remove"), ofObject("plain3", "Remove"), ofObject(".host", "Remove"),
		ofObject("vendor", "Rename", "x"),
	},
	// Away.
	callsOf("RemoveImage", []any{"dir4"}, []any{"raw4"}, []any{"rawro2"}, []any{"vendor"}, []any{".host"}, []any{"nobody"}, []any{"bad/name"},
		[]any{"local2"}, []any{"blk3"}, []any{"stack"}, []any{"unhidden"}),
	callsOf("CleanPool", []any{"some"}, []any{"hidden"}, []any{"hidden"}, []any{"all"}),
)

// changesHere is changes without those of images that systemd-machined takes for
// something else here.
func changesHere() []change {
	return slices.DeleteFunc(slices.Clone(changes), func(c change) bool {
		return live.Host.Version < 262 && len(c.args) > 0 && (c.args[0] == "stack" || c.args[0] == ".hidden" && c.member == "MarkImageReadOnly")
	})
}

func callsOf(member string, calls ...[]any) (all []change) {
	for _, args := range calls {
		all = append(all, ofManager(member, args...))
	}
	return all
}

// TestMachdChangesImagesAsStock makes the same changes under both daemons.
func TestMachdChangesImagesAsStock(t *testing.T) {
	for _, kind := range []string{"ext4", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			useStock(t)
			want := playChanges(t, kind)
			useMachd(t)
			got := playChanges(t, kind)
			for i, c := range changesHere() {
				if diff := linesThatDiffer(settle(want[i]), settle(got[i])); diff != "" {
					t.Errorf("%s (-systemd-machined +machd):\n%s", c, diff)
				}
			}
		})
	}
}

// playChanges returns what each of the changes did.
func playChanges(t *testing.T, kind string) (all [][]string) {
	t.Helper()
	t.Run("play", func(t *testing.T) { // which unmounts in the end
		layOutChanges(t, kind)
		conn := dial(t)
		now := disk{}
		before := append(imagesNow(t, conn), now.files(t)...)
		for _, c := range changesHere() {
			did := c.make(t, conn)
			after := append(imagesNow(t, conn), now.files(t)...)
			for _, line := range missingFrom(before, after) {
				did = append(did, "lost "+line)
			}
			for _, line := range missingFrom(after, before) {
				did = append(did, "has "+line)
			}
			before = after
			all = append(all, did)
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	return all
}

func layOutChanges(t *testing.T, kind string) {
	t.Helper()
	mountPool(t, kind)
	t.Cleanup(func() { run(t, "bash", "-c", cleanUpImages) })
	cmd := exec.Command("bash", "-c", changeImages)
	cmd.Env = append(os.Environ(), fmt.Sprint("SYSTEMD=", live.Host.Version))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot lay out images: %v: %s", err, out)
	}
}

// make makes the change, and returns the answer.
func (c change) make(t *testing.T, conn *dbus.Conn) (answer []string) {
	t.Helper()
	target, iface := manager, machine1.ManagerInterface
	if c.object != "" {
		target.Path, iface = machine1.ImagePath(c.object), machine1.ImageInterface
	}
	var cleaned []struct {
		Name  string
		Usage uint64
	}
	var out []any
	if c.member == "CleanPool" {
		out = append(out, &cleaned)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := bus.Call(ctx, conn, target, iface+"."+c.member, false, c.args, out...); err != nil {
		return []string{"fails: " + machine1.ErrorName(err)}
	}
	for _, i := range cleaned {
		answer = append(answer, "cleaned "+i.Name)
	}
	slices.Sort(answer)
	return answer
}

// imagesNow is what the daemon tells of the images, without what differs from
// run to run.
func imagesNow(t *testing.T, conn *dbus.Conn) (lines []string) {
	t.Helper()
	var images []machine1.ListedImage
	must(t, call(t, conn, "ListImages", nil, &images))
	for _, i := range images {
		var values map[string]dbus.Variant
		target := bus.Target{Name: machine1.BusName, Path: i.Path}
		err := bus.Call(t.Context(), conn, target, "org.freedesktop.DBus.Properties.GetAll", false, []any{machine1.ImageInterface}, &values)
		line := fmt.Sprint("image ", i.Name, ": ", i.Type, " ", i.ReadOnly)
		if err != nil {
			lines = append(lines, line+" "+machine1.ErrorName(err))
			continue
		}
		for _, key := range []string{"Type", "Path", "ReadOnly", "Limit", "LimitExclusive"} {
			line += fmt.Sprint(" ", values[key].Value())
		}
		lines = append(lines, strings.ReplaceAll(line, fmt.Sprint(unlimited), "-"))
	}
	var pool dbus.Variant
	must(t, bus.Call(t.Context(), conn, manager, "org.freedesktop.DBus.Properties.Get", false,
		[]any{machine1.ManagerInterface, "PoolLimit"}, &pool))
	return append(lines, fmt.Sprint("pool limited to ", pool))
}

// better is where machd keeps more of what it copies than systemd-machined, or
// keeps it elsewhere. Whoever is right, users see no difference here.
var better = []struct {
	from *regexp.Regexp
	to   string
}{
	// The top of a copied directory is as the original's.
	{regexp.MustCompile(`^(\w+ /var/lib/machines/[^/]+: )d\S+ \d+:\d+( old)?( subvolume)?( user.top=\w+)?`), "${1}directory$3"},
	// What belongs to an image keeps its mode, where systemd-machined makes it readable and writable.
	{regexp.MustCompile(`(\.(nspawn|oci-config|roothash|roothash.p7s|usrhash|usrhash.p7s|verity|efinvramstate): )-[rwx-]+`), "${1}file"},
	// So do file capabilities and holes.
	{regexp.MustCompile(` (security\.capability=\w+|sparse)`), ""},
	// The time when a raw image was copied, which the file system knows better.
	{regexp.MustCompile(` user\.crtime_usec=\w+`), ""},
	// State of a TPM is a directory.
	{regexp.MustCompile(`.*\.raw\.tpmstate.*`), ""},
	// Nothing is written where packages keep their files, and what belongs to a clone is beside it.
	{regexp.MustCompile(`^\w+ /usr/lib/systemd/nspawn/.*`), ""},
	{regexp.MustCompile(`.*/localized\.nspawn.*`), ""},
}

// unknownTo257 is what systemd-machined of 257 does not know yet: more files that belong
// to an image, and that hidden images are read-only.
var unknownTo257 = regexp.MustCompile(`\.(oci-config|roothash\.p7s|usrhash|usrhash\.p7s|verity|efinvramstate): |^\w+ image \.[a-z0-9]+: `)

// settle takes out what better and unknownTo257 are about.
func settle(lines []string) (settled []string) {
	for _, line := range lines {
		for _, b := range better {
			line = b.from.ReplaceAllString(line, b.to)
		}
		if live.Host.Version < 262 && unknownTo257.MatchString(line) {
			line = ""
		}
		if line != "" {
			settled = append(settled, line)
		}
	}
	return settled
}

// linesThatDiffer shows what is in one only, a line each.
func linesThatDiffer(a, b []string) string {
	var text strings.Builder
	for _, line := range missingFrom(a, b) {
		fmt.Fprintf(&text, "\t- %s\n", line)
	}
	for _, line := range missingFrom(b, a) {
		fmt.Fprintf(&text, "\t+ %s\n", line)
	}
	return text.String()
}

// missingFrom returns what of a is not in b, in order.
func missingFrom(a, b []string) (rest []string) {
	for _, line := range a {
		if !slices.Contains(b, line) {
			rest = append(rest, line)
		}
	}
	return rest
}
