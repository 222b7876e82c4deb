package tarball_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/machd/machd/client/internal/tarball"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// describe tells all that a copy has to keep.
func describe(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", `cd "$0" && find . -printf '%P %y %m %U:%G %s %l %T@ %n\n' | sort &&
		find . -type f -exec sha256sum {} + | sort && find . -size +100k -printf '%P %k\n' &&
		getfattr -hR -m - -d . 2>/dev/null; true`, dir).CombinedOutput()
	must(t, err)
	return string(out)
}

// pack returns an archive of a file or a directory.
func pack(t *testing.T, name string) *bytes.Buffer {
	t.Helper()
	r, err := tarball.Read(t.Context(), name)
	must(t, err)
	defer r.Close()
	var packed bytes.Buffer
	_, err = io.Copy(&packed, r)
	must(t, err)
	return &packed
}

func tree(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	out, err := exec.Command("sh", "-euc", `mkdir -p "$0/sub/empty"; cd "$0"; echo hi >file; ln file sub/hard; ln -s /no/such link
		truncate -s 50M sub/sparse; printf x | dd of=sub/sparse bs=1 seek=20000000 conv=notrunc status=none; mkfifo pipe
		touch -d 2001-02-03T04:05:06 sub/empty; printf 'odd\n' >'odd
name -x'; chmod 700 .; test $(id -u) != 0 || chown -h 1234:5678 file link; chmod 4751 file; touch -d 2002-02-02 .`, dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

func TestATreeComesOutAsItWentIn(t *testing.T) {
	t.Parallel()
	dir := tree(t)
	packed := pack(t, dir)
	if packed.Len() > 1<<20 {
		t.Errorf("the archive of a file with holes has %d bytes", packed.Len())
	}
	out := t.TempDir()
	name, err := tarball.Unpack(t.Context(), packed, out)
	must(t, err)
	if name != out {
		t.Errorf("the directory is %s", name)
	}
	if want, got := describe(t, dir), describe(t, out); got != want {
		t.Errorf("want:\n%s\ngot:\n%s", want, got)
	}
}

func TestAFileComesOutAsAFile(t *testing.T) {
	t.Parallel()
	dir := tree(t)
	for _, name := range []string{"file", "link", "odd\nname -x"} {
		packed := pack(t, filepath.Join(dir, name))
		out := t.TempDir()
		got, err := tarball.Unpack(t.Context(), packed, out)
		if err != nil || got != filepath.Join(out, name) {
			t.Errorf("%q: got %q, %v", name, got, err)
		}
	}
	// A directory with one file is no file.
	one := t.TempDir()
	must(t, os.WriteFile(filepath.Join(one, "a"), nil, 0o600))
	packed := pack(t, one)
	out := t.TempDir()
	if got, err := tarball.Unpack(t.Context(), packed, out); err != nil || got != out {
		t.Errorf("a directory with one file: got %q, %v", got, err)
	}
}

// What an archive says of all its members, as git does, is no member.
func TestAFileIsOneWithWhatIsSaidOfAll(t *testing.T) {
	t.Parallel()
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{"comment": "x"}}))
	must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "file", Mode: 0o600}))
	must(t, w.Close())
	out := t.TempDir()
	if got, err := tarball.Unpack(t.Context(), &packed, out); err != nil || got != filepath.Join(out, "file") {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestWhatIsNoArchive(t *testing.T) {
	t.Parallel()
	dir := tree(t)
	packed := pack(t, dir)
	for name, text := range map[string]string{"nothing": "", "text": "hello\n", "half": packed.String()[:packed.Len()/2]} {
		if got, err := tarball.Unpack(t.Context(), strings.NewReader(text), t.TempDir()); err == nil {
			t.Errorf("%s: got %q", name, got)
		}
	}
	nothing, err := tarball.Read(t.Context(), "/no/such")
	must(t, err)
	for range 2 {
		if _, err := io.ReadAll(nothing); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("nothing to pack: %v", err)
		}
	}
}

// Not parallel: it is another tar that is found.
func TestAnArchiveThatIsNotAllIsNone(t *testing.T) {
	tar, err := exec.LookPath("tar")
	must(t, err)
	bin := t.TempDir()
	must(t, os.WriteFile(filepath.Join(bin, "tar"), []byte("#!/bin/sh\n"+tar+" \"$@\"\necho tar: left something out >&2\nexit 2\n"), 0o755))
	path := os.Getenv("PATH")
	many := t.TempDir()
	for i := range 30 {
		must(t, os.WriteFile(filepath.Join(many, strconv.Itoa(i)), bytes.Repeat([]byte{'x'}, i*1000), 0o600))
	}
	for _, name := range []string{tree(t), many, t.TempDir(), filepath.Join(many, "29"), "/no/such"} {
		t.Setenv("PATH", bin+":"+path)
		r, err := tarball.Read(t.Context(), name)
		must(t, err)
		defer r.Close()
		var packed bytes.Buffer
		if _, err := io.Copy(&packed, r); err == nil || name != "/no/such" && err.Error() != "tar: left something out" {
			t.Errorf("%s: %v", name, err)
		}
		t.Setenv("PATH", path)
		list := exec.Command("tar", "t")
		list.Stdin = &packed
		if out, err := list.CombinedOutput(); err == nil {
			t.Errorf("%s: tar takes what was made of it: %s", name, out)
		}
	}
}

func TestUnpackingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	ended := make(chan error, 1)
	go func() {
		_, err := tarball.Unpack(ctx, r, t.TempDir())
		ended <- err
	}()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("it waits for more of the archive")
	}
}

// An archive of somebody else's must not write elsewhere.
func TestAnArchiveStaysWhereItIsUnpacked(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	out, err := exec.Command("sh", "-euc", `cd "$0"; mkdir in out victim; cd in; ln -s ../victim way; tar -cf ../evil.tar way; rm way; mkdir way; echo x >way/file
		tar -rf ../evil.tar way/file; echo x >../up; tar -rPf ../evil.tar ../up`, base).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	evil, err := os.Open(filepath.Join(base, "evil.tar"))
	must(t, err)
	defer evil.Close()
	must(t, os.Remove(filepath.Join(base, "up")))
	_, _ = tarball.Unpack(t.Context(), evil, filepath.Join(base, "out"))
	for _, name := range []string{"victim/file", "up"} {
		if _, err := os.Lstat(filepath.Join(base, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPlacing(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, make string
		replace    bool
		want       string
		fails      bool
	}{
		{"nothing is there", "mkdir from; echo a >from/f", false, "to to/f=a", false},
		{"a file", "echo a >from", false, "to=a", false},
		{"a file is there", "echo a >from; echo b >to", false, "to=b", true},
		{"a file is replaced", "echo a >from; echo b >to", true, "to=a", false},
		{"a directory is merged", "mkdir -p from/d to/d; echo a >from/d/f; echo a >from/g; echo b >to/g", false, "to to/d to/d/f=a to/g=b", false},
		{"and files replaced", "mkdir -p from/d to/d; echo a >from/d/f; echo a >from/g; echo b >to/g", true, "to to/d to/d/f=a to/g=a", false},
		{"a file is no directory", "mkdir from; echo b >to", true, "to=b", true},
		{"nor the other way", "echo a >from; mkdir to", true, "to", true},
	} {
		dir := t.TempDir()
		must(t, exec.Command("sh", "-euc", "cd \"$0\"; "+row.make, dir).Run())
		err := tarball.Place(filepath.Join(dir, "from"), filepath.Join(dir, "to"), row.replace)
		if (err != nil) != row.fails || row.fails && !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: %v", row.name, err)
		}
		out, err := exec.Command("sh", "-c", `cd "$0"; find to | sort | while read f; do printf "$f"; test -d "$f" || printf "=$(cat "$f")"; printf ' '; done`, dir).Output()
		must(t, err)
		if got := strings.TrimSpace(string(out)); got != row.want {
			t.Errorf("%s: got %s, want %s", row.name, got, row.want)
		}
	}
}
