package booted

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A misuse is a wrong use of a verb about images, and what the error says.
type misuse struct {
	line string // after machctl
	code int
	says string // what, why and the way out
}

func wantMisuses(t *testing.T, as []string, misuses []misuse) {
	t.Helper()
	for _, m := range misuses {
		o := observe(t, append(append(as, "machctl"), strings.Fields(m.line)...)...)
		for text := range strings.SplitSeq(m.says, "…") {
			if o.Code != m.code || !strings.Contains(o.Stderr, text) {
				t.Errorf("%s: exit status %d, want %d; nothing of %q: %s", m.line, o.Code, m.code, text, o.Stderr)
			}
		}
	}
}

// TestMachdImagesUsedWronglySayTheWayOut tries wrong things with images.
func TestMachdImagesUsedWronglySayTheWayOut(t *testing.T) {
	imagesGoAfter(t, "wrong", "fixed", "made")
	run(t, "machctl", "create", "wrong", "--from", "tiny")
	run(t, "machctl", "create", "fixed", "--from", "tiny", "--read-only")
	t.Cleanup(func() { observe(t, "chattr", "-i", filepath.Join(guests, "fixed")) })
	run(t, "machctl", "snapshot", "create", "wrong", "one")
	dir := t.TempDir()
	password := filepath.Join(dir, "password")
	must(t, os.WriteFile(password, []byte("c8\n"), 0o644))
	wantMisuses(t, nil, []misuse{
		{"create made --from /nosuch", 1, `image "made": --from: open /nosuch: no such file…hint: give the path`},
		{"create made --from " + password, 1, `no archive that tar knows, and as a disk image it was not taken`},
		{"create made --from /etc/passwd", 1, `neither an archive that tar knows nor a disk image: it has neither…machctl help create`},
		{"create made --from /dev/null", 1, `neither a directory nor a regular file…machctl help create`},
		{"create wrong --from tiny", 6, `there is an image "wrong" already…machctl remove wrong`},
		{"passwd nobody", 3, `cannot find "nobody": No image 'nobody' known…machctl list-images`},
		{"passwd fixed", 1, `in image "fixed": it is read-only…machctl read-only fixed no`},
		{"passwd .wrong@one", 1, `it is kept as it is…machctl clone .wrong@one NEW`},
		{"passwd .host", 1, `it is this host…passwd(1)`},
		{"passwd wrong nobody-there --password-file " + password, 1, `There is no user 'nobody-there' in it`},
		{"snapshot create wrong one", 6, `it has a snapshot "one" already…machctl snapshot remove wrong one`},
		{"snapshot create .wrong@one x", 1, `it is hidden, and so kept as it is`},
		{"snapshot create .host x", 1, `it is this host`},
		{"snapshot list nobody", 3, `there is no image "nobody", and no snapshot of one…machctl list-images`},
		{"rename wrong tiny", 6, `cannot rename image "wrong": there is an image "tiny" already…machctl remove tiny`},
		{"clone wrong tiny", 6, `there is an image "tiny" already…machctl remove tiny`},
		{"clone .host made", 1, `it is this host, with all images in it`},
		{"set-limit wrong 1G", 1, `it is of type directory, and only a subvolume of btrfs can be`},
		{"read-only .wrong@one no", 1, `is hidden, and so kept as it is: a clone of it can be changed`},
		{"remove nobody -y", 3, `No image 'nobody' known…machctl list-images`},
	})
	must(t, os.Chmod(password, 0o600))
	const denied = "no polkit agent asks user"
	wantMisuses(t, []string{"setpriv", "--reuid=alice", "--regid=alice", "--clear-groups"}, []misuse{
		{"create made --from tiny", 4, denied}, {"create made --from " + dir, 4, "cannot make image…permission denied…run it as root"},
		{"passwd wrong --lock", 4, denied}, {"passwd wrong --password-file " + password, 4, "--password-file: open…permission denied…run it as root"},
		{"snapshot create wrong two", 4, denied}, {"snapshot restore wrong one -y", 4, denied}, {"snapshot remove wrong one -y", 4, denied},
		{"remove wrong -y", 4, denied}, {"clean -y", 4, denied}, {"rename wrong made", 4, denied}, {"clone wrong made", 4, denied},
		{"set-limit wrong 1G", 4, denied}, {"read-only wrong", 4, denied},
	})
	wantNoTrace(t, "made")
}

// TestMachdImagesOnAFullDiskStay has no room for what is to be changed.
func TestMachdImagesOnAFullDiskStay(t *testing.T) {
	tree := filepath.Join(t.TempDir(), "tree")
	run(t, "cp", "-a", filepath.Join(guests, "tiny"), tree)
	run(t, "mount", "-t", "tmpfs", "-o", "size=12M,mode=0700", "tmpfs", guests)
	defer run(t, "umount", guests)
	run(t, "cp", "-a", tree, filepath.Join(guests, "small"))
	observe(t, "dd", "if=/dev/zero", "of="+filepath.Join(guests, ".full"), "bs=4k")
	was := observe(t, "sha256sum", filepath.Join(guests, "small/etc/passwd")).Stdout
	const full = "no space left on device…hint: \"machctl list-images\" shows what takes how much"
	wantMisuses(t, nil, []misuse{
		{"clone small other", 1, `image "small": …` + full}, {"snapshot create small other", 1, `image "small": …` + full},
		{"passwd small --lock", 1, `in image "small": …` + full},
	})
	if o := observe(t, "bash", "-c", fmt.Sprintf("ls -A %s; ls -A %[1]s/small/etc | grep '^[.]passwd'", guests)); o.Stdout != ".full\nsmall\n" {
		t.Errorf("there is %q", o.Stdout)
	}
	if is := observe(t, "sha256sum", filepath.Join(guests, "small/etc/passwd")).Stdout; is != was {
		t.Error("the users have changed")
	}
}
