package imagemaker

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"net"
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
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/pkg/socket"
)

func TestReferences(t *testing.T) {
	t.Parallel()
	digest := "sha256:" + strings.Repeat("0a", 32)
	for text, want := range map[string]string{
		"alpine":                       "https://registry-1.docker.io/v2/library/alpine latest",
		"alpine:3":                     "https://registry-1.docker.io/v2/library/alpine 3",
		"docker.io/some/app":           "https://registry-1.docker.io/v2/some/app latest",
		"some/app@" + digest:           "https://registry-1.docker.io/v2/some/app " + digest,
		"quay.io/some/app:1.2":         "https://quay.io/v2/some/app 1.2",
		"localhost/app":                "http://localhost/v2/app latest",
		"localhost:5000/app:x":         "http://localhost:5000/v2/app x",
		"127.0.0.1:5000/a/b/c":         "http://127.0.0.1:5000/v2/a/b/c latest",
		"registry.example:443/app:1.0": "https://registry.example:443/v2/app 1.0",

		"": "", "a b": "", "../up": "", "app@sha256:12": "", "app@md5:0a": "", "host.example/?x": "", "app:tag?x=y": "", "user@host.example/app": "",
	} {
		got := ""
		if r, err := parseReference(text); err == nil {
			got = r.base() + " " + r.tagOrDigest()
		}
		if got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

func TestArchivesAreKnownByTheirContent(t *testing.T) {
	t.Parallel()
	header := make([]byte, 1024)
	copy(header[257:], "ustar")
	zipped := func(content []byte) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		w.Write(content)
		w.Close()
		return b.Bytes()
	}
	for name, c := range map[string]struct {
		content []byte
		want    bool
	}{
		"tar": {header, true}, "zipped tar": {zipped(header), true}, "disk": {make([]byte, 4096), false},
		"zipped disk": {zipped(make([]byte, 4096)), false}, "empty": {nil, false}, "short": {[]byte("\x1f\x8b"), false},
	} {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, c.content, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := isArchive(t.Context(), f); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
		f.Close()
	}
}

func TestDisksAreKnownByTheirContent(t *testing.T) {
	t.Parallel()
	parted := make([]byte, 2<<20)
	parted[450] = 0x83                                     // a partition of Linux
	copy(parted[454:], "\x00\x08\x00\x00\x00\x08\x00\x00") // where, and how large
	copy(parted[510:], "\x55\xaa")
	for name, c := range map[string]struct {
		content []byte
		no      bool
	}{
		"parted": {parted, false}, "text": {[]byte(strings.Repeat("root:x:0:0:root:/root:/bin/bash\n", 40)), true}, "zeros": {make([]byte, 2<<20), true},
	} {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, c.content, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := isNoDisk(t.Context(), path); got != c.no {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestAFullDiskIsHeeded(t *testing.T) {
	t.Parallel()
	var b builder
	told := 0
	if b.heed("tar: a: time stamp is in the future"); b.full || b.whenFull(unix.EIO) != unix.EIO {
		t.Error("a disk is full that nobody says it of")
	}
	for range 1000 {
		if b.heed("tar: d/f: Cannot write: No space left on device") {
			told++
		}
	}
	if told != keptLines || !b.heed("tar failed with exit status 2.") {
		t.Errorf("%d lines are told, want %d, and others", told, keptLines)
	}
	err := b.whenFull(machine1.Errorf(machine1.ErrJobFailed, "tar failed"))
	if name := machine1.ErrorName(err); name != "System.Error.ENOSPC" || err.Error() != "tar failed: the file system of the images is full: no space left on device" {
		t.Errorf("the error is %s: %v", name, err)
	}
}

func TestDownloadsAreKnownByTheirName(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"http://h/a.tar.xz": "tar", "http://h/a.raw.xz": "raw", "http://h/a.qcow2": "raw", "http://h/a.img.gz?x=1.tar": "raw", "http://h/a": "tar",
	} {
		if got := kindOfURL(url); got != want {
			t.Errorf("%s: %s", url, got)
		}
	}
}

func TestSenselessWishesAreRefused(t *testing.T) {
	t.Parallel()
	debian, other := machd.Source{Kind: machd.SourceDebian, Name: "13"}, machd.Source{Kind: machd.SourceMachine, Name: "a"}
	for name, w := range map[string]Wish{
		"a mirror":   {Source: other, Options: machd.CreateOptions{Mirror: "http://m"}},
		"packages":   {Source: other, Options: machd.CreateOptions{Packages: []string{"vim"}}},
		"an option":  {Source: debian, Options: machd.CreateOptions{Packages: []string{"--foreign"}}},
		"a list":     {Source: debian, Options: machd.CreateOptions{Packages: []string{"a,b"}}},
		"no URL":     {Source: debian, Options: machd.CreateOptions{Mirror: "mirror"}},
		"two lines":  {Source: debian, Options: machd.CreateOptions{Mirror: "http://m\n[x]"}},
		"no key":     {Source: debian, Options: machd.CreateOptions{SSHKeys: []string{"key"}}},
		"two keys":   {Source: debian, Options: machd.CreateOptions{SSHKeys: []string{"a b\nc d"}}},
		"two fields": {Source: debian, Options: machd.CreateOptions{RootPassword: "x:0"}},
	} {
		if err := w.check(); err == nil {
			t.Errorf("%s passes", name)
		}
	}
	sensible := machd.CreateOptions{Mirror: "file:///opt/debian", Packages: []string{"g++", "libc6:amd64"}, SSHKeys: []string{"ssh-ed25519 AAAA"}, RootPassword: "$6$x$y"}
	if err := (Wish{Source: debian, Options: sensible}).check(); err != nil {
		t.Error(err)
	}
}

func TestConfigurationOfDnf(t *testing.T) {
	t.Parallel()
	text := rpmFamilies[machd.SourceFedora].config(machd.CreateOptions{Verify: machd.VerifySignature})
	if !strings.Contains(text, "[updates]\n") || strings.Count(text, "gpgcheck=1\n") != 2 || strings.Contains(text, "baseurl") {
		t.Errorf("it is\n%s", text)
	}
	text = rpmFamilies[machd.SourceCentOS].config(machd.CreateOptions{Verify: machd.VerifyNo, Mirror: "http://m/"})
	if !strings.Contains(text, "baseurl=http://m/\ngpgcheck=0\n") || strings.Contains(text, "metalink") {
		t.Errorf("with a mirror it is\n%s", text)
	}
	text = rpmFamilies[machd.SourceCentOS].config(machd.CreateOptions{Verify: machd.VerifySignature})
	for _, repository := range []string{"baseos", "appstream"} {
		if !strings.Contains(text, "["+repository+"]\n") || !strings.Contains(text, "repo=centos-"+repository+"-$releasever-stream&arch=$basearch") {
			t.Errorf("without %s it is\n%s", repository, text)
		}
	}
}

// The daemon reads what the builder reports, and adds the last lines to a failure.
func TestReports(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		reports []report
		want    string // the error, or ""
	}{
		"made":   {[]report{{Line: "a"}, {Made: &Made{Usage: 7}}}, ""},
		"failed": {[]report{{Line: "a"}, {Failure: &failure{"System.Error.ENOSPC", "full"}}}, "full\na"},
		"long":   {[]report{{Line: "0"}, {Line: "1"}, {Line: "2"}, {Line: "3"}, {Line: "4"}, {Line: "5"}, {Failure: &failure{"x", "no"}}}, "no\n1\n2\n3\n4\n5"},
		"killed": {[]report{{Line: "a"}}, "it was ended before it was done\na"},
	} {
		ours, theirs, err := socket.Pair(unix.SOCK_STREAM)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.FileConn(theirs)
		theirs.Close()
		if err != nil {
			t.Fatal(err)
		}
		var said []string
		for _, r := range c.reports {
			text, _ := json.Marshal(r)
			conn.Write(append(text, '\n'))
		}
		conn.Close()
		made, err := follow(ours, func(line string) { said = append(said, line) })
		got := ""
		if err != nil {
			got = err.Error()
		} else if made.Usage != 7 {
			t.Errorf("%s: %+v", name, made)
		}
		if diff := cmp.Diff(c.want, got); diff != "" || len(said) == 0 {
			t.Errorf("%s: it said %q; the error is (-want +got):\n%s", name, said, diff)
		}
		ours.Close()
	}
}

// fakeUnits starts a builder that makes nothing.
type fakeUnits struct {
	Units
	wish chan Wish // that it was told
}

func (u fakeUnits) StartTransient(_ context.Context, _, _ string, props []machine1.Property) (dbus.ObjectPath, error) {
	i := slices.IndexFunc(props, func(p machine1.Property) bool { return p.Name == "StandardInputFileDescriptor" })
	input := props[i].Value.Value().(dbus.UnixFD)
	fd, err := unix.Dup(int(input))
	if err != nil {
		return "", err
	}
	f := os.NewFile(uintptr(fd), "input")
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return "", err
	}
	go func() {
		defer conn.Close()
		b := builder{conn: conn.(*net.UnixConn)}
		_ = b.readOrder()
		u.wish <- b.wish
		b.report(report{Made: &Made{}})
	}()
	return "/job", nil
}

func (fakeUnits) WaitJob(context.Context, dbus.ObjectPath) (string, error) { return "done", nil }
func (fakeUnits) ActiveState(context.Context, string) (string, error)      { return "inactive", nil }

// noImages is a pool without any.
type noImages struct{}

func (noImages) Get(context.Context, string) (image.Image, error) {
	return image.Image{}, machine1.ErrNoSuchImage
}
func (noImages) SweepSoon(string) {}

// Options may take more than a socket holds before the unit is there that reads.
func TestAWishOfManyOptionsIsTold(t *testing.T) {
	t.Parallel()
	want := Wish{Name: "new", Source: machd.Source{Kind: machd.SourceDebian, Name: "13"}}
	want.Options.SSHKeys = slices.Repeat([]string{"ssh-ed25519 " + strings.Repeat("A", 1000)}, 900)
	units := fakeUnits{wish: make(chan Wish, 1)}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := New(Config{Units: units, Images: noImages{}}).Make(ctx, want, nil, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, <-units.wish); diff != "" {
		t.Errorf("the builder is told (-want +got):\n%s", diff)
	}
}
