package booted

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// rpmSpec is a package that is all of a system that boots, by name.
const rpmSpec = `Name: minimal
Version: 1
Release: 1
Summary: a system
License: none
BuildArch: noarch
Provides: fedora-release centos-stream-release systemd dbus passwd dnf util-linux iproute procps-ng
AutoReqProv: no
%description
A system.
%install
mkdir -p %{buildroot}/etc %{buildroot}/root %{buildroot}/usr/lib/systemd
echo 'ID=fedora' >%{buildroot}/etc/os-release
echo 'root:x:0:0:root:/root:/bin/sh' >%{buildroot}/etc/passwd
echo 'root:*:1:0:99999:7:::' >%{buildroot}/etc/shadow
echo '#!/bin/sh' >%{buildroot}/usr/lib/systemd/systemd
%files
/etc/os-release
/etc/passwd
/etc/shadow
/root
/usr/lib/systemd/systemd
`

// rpmRepository makes a repository of RPM packages and returns its directory.
func rpmRepository(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "minimal.spec"), []byte(rpmSpec), 0o644))
	run(t, "bash", "-c", fmt.Sprintf("cd %[1]s && rpmbuild -bb --define '_topdir %[1]s/build' --define '_rpmdir %[1]s/repo' minimal.spec && createrepo_c repo", dir))
	return filepath.Join(dir, "repo")
}

// TestMachdCreatesACentOS makes one, too, of the packages that it is of, in the
// version that was asked for.
func TestMachdCreatesACentOS(t *testing.T) {
	imagesGoAfter(t, "cent")
	repository := rpmRepository(t)
	versions := t.TempDir()
	must(t, os.Symlink(repository, filepath.Join(versions, "9")))
	mirror := "file://" + versions + "/$releasever" // which dnf fills in
	o := observe(t, "machctl", "create", "cent", "--from", "centos-stream:9", "--verify=no", "--mirror", mirror)
	if o.Code != 0 || !strings.Contains(o.Stderr, "machctl: made cent of centos-stream:9") {
		t.Fatalf("%+v", o)
	}
	if text := readFile(t, filepath.Join(guests, "cent/etc/os-release")); text != "ID=fedora\n" { // which the package has
		t.Errorf("it is %q", text)
	}
	if o := observe(t, "machctl", "create", "cent10", "--from", "centos-stream:10", "--verify=no", "--mirror", mirror); o.Code == 0 {
		t.Errorf("of a version that is not there: %+v", o)
	}
	wantNoTrace(t, "cent10")
}

// TestMachdCreatesAFedora makes a system of a repository of RPM packages.
func TestMachdCreatesAFedora(t *testing.T) {
	imagesGoAfter(t, "fed")
	repository := "file://" + rpmRepository(t)
	if o := observe(t, "machctl", "create", "fed", "--from", "fedora:42", "--mirror", repository); o.Code == 0 {
		t.Errorf("of packages that nobody has signed: %+v", o)
	}
	wantNoTrace(t, "fed")
	o := observe(t, "bash", "-c", "machctl create fed --from fedora:42 --verify=no --root-password-file <(echo c8) --mirror "+repository)
	if o.Code != 0 || !strings.Contains(o.Stderr, "machctl: made fed of fedora:42") {
		t.Fatalf("%+v", o)
	}
	text, err := os.ReadFile(filepath.Join(guests, "fed/etc/os-release"))
	if err != nil || string(text) != "ID=fedora\n" {
		t.Errorf("it is %q: %v", text, err)
	}
	if shadow, _ := os.ReadFile(filepath.Join(guests, "fed/etc/shadow")); !strings.HasPrefix(string(shadow), "root:$6$") {
		t.Errorf("shadow is %q", shadow)
	}
	if o := observe(t, "machctl", "create", "fed2", "--from", "fedora:42", "--verify=no", "--packages", "nosuch", "--mirror", repository); o.Code == 0 ||
		!strings.Contains(o.Stderr, "nosuch") {
		t.Errorf("with a package that is not there: %+v", o)
	}
	wantNoTrace(t, "fed2")
}

// TestMachdCreateSaysWhatIsMissing takes programs away.
func TestMachdCreateSaysWhatIsMissing(t *testing.T) {
	for program, c := range map[string]struct{ from, want string }{
		"/usr/bin/dnf":          {"fedora:42", "install the package dnf"},
		"/usr/sbin/debootstrap": {"debian:13", "install the package debootstrap"},
	} {
		must(t, os.Rename(program, program+".away"))
		o := observe(t, "machctl", "create", "none", "--from", c.from)
		must(t, os.Rename(program+".away", program))
		if o.Code == 0 || !strings.Contains(o.Stderr, c.want) {
			t.Errorf("without %s: %+v", program, o)
		}
	}
	wantNoTrace(t, "none")
}

// A registry serves one image, for whoever has its token.
type registry struct {
	blobs map[string][]byte
	tags  map[string]string // digests of manifests
	url   string

	mu     sync.Mutex
	broken string // a digest of which it sends something else
}

func (r *registry) add(content []byte) (digest string) {
	digest = fmt.Sprintf("sha256:%x", sha256.Sum256(content))
	r.blobs[digest] = content
	return digest
}

func (r *registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if q.URL.Path == "/token" {
		fmt.Fprint(w, `{"token":"c8"}`)
		return
	}
	if q.Header.Get("Authorization") != "Bearer c8" {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="test"`, r.url))
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	what := filepath.Base(q.URL.Path)
	if digest, ok := r.tags[what]; ok {
		what = digest
	}
	content, ok := r.blobs[what]
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if what == r.broken {
		content = bytes.ToUpper(content)
	}
	w.Write(content)
}

// describe is a descriptor of a blob.
func (r *registry) describe(digest string) map[string]any {
	return map[string]any{"digest": digest, "size": len(r.blobs[digest])}
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	must(t, err)
	return text
}

// layer packs entries: a name that ends in a slash is a directory, content that
// begins with "-> " a link.
func layer(t *testing.T, zipped bool, entries ...[2]string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		h := &tar.Header{Name: e[0], Mode: 0o755, Typeflag: tar.TypeReg, Size: int64(len(e[1])), Uid: 7, Gid: 8}
		if target, ok := strings.CutPrefix(e[1], "-> "); ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, target, 0
		}
		if strings.HasSuffix(e[0], "/") {
			h.Typeflag = tar.TypeDir
		}
		must(t, w.WriteHeader(h))
		if h.Typeflag == tar.TypeReg {
			_, err := w.Write([]byte(e[1]))
			must(t, err)
		}
	}
	must(t, w.Close())
	if !zipped {
		return out.Bytes()
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := z.Write(out.Bytes())
	must(t, err)
	must(t, z.Close())
	return packed.Bytes()
}

// TestMachdCreatesOfARegistry makes an image of what a registry has, one layer
// above the other, however much these want to get out.
func TestMachdCreatesOfARegistry(t *testing.T) {
	imagesGoAfter(t, "oci")
	r := &registry{blobs: map[string][]byte{}, tags: map[string]string{}}
	r.mu.Lock()
	server := httptest.NewServer(r)
	defer server.Close()
	r.url = server.URL
	first := r.add(layer(t, true, [2]string{"etc/", ""}, [2]string{"etc/os-release", "ID=oci\n"}, [2]string{"etc/passwd", "root:x:0:0::/:/bin/sh\n"},
		[2]string{"gone", "x"}, [2]string{"dir/", ""}, [2]string{"dir/lower", "x"}, [2]string{"out", "-> /etc"}))
	second := r.add(layer(t, false, [2]string{".wh.gone", ""}, [2]string{"dir/upper", "y"}, [2]string{"dir/.wh..wh..opq", ""},
		[2]string{"out/escaped", "z"}, [2]string{"../../up", "u"}))
	config := r.add([]byte(`{"config":{"Entrypoint":["/bin/app"],"Cmd":["--serve"]}}`))
	image := r.add(encode(t, map[string]any{"config": r.describe(config), "layers": []any{r.describe(first), r.describe(second)}}))
	mine := r.describe(image)
	mine["platform"] = map[string]string{"os": "linux", "architecture": runtime.GOARCH}
	other := r.describe(config)
	other["platform"] = map[string]string{"os": "plan9", "architecture": "vax"}
	r.tags["1"] = r.add(encode(t, map[string]any{"manifests": []any{other, mine}}))

	r.mu.Unlock()

	ref := "oci:" + strings.TrimPrefix(server.URL, "http://") + "/some/app:1"
	out, err := exec.Command("machctl", "create", "oci", "--from", ref).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "It is meant to run: /bin/app --serve") {
		t.Fatalf("%v: %s", err, out)
	}
	found := observe(t, "bash", "-c", "cd /var/lib/machines/oci; find . -mindepth 1 -printf '%P %y %U\\n' | LC_ALL=C sort; cat etc/os-release")
	want := "dir d 7\ndir/upper f 7\netc d 7\netc/escaped f 7\netc/os-release f 7\netc/passwd f 7\nout l 7\nup f 7\nID=oci\n"
	if found.Stdout != want {
		t.Errorf("there is\n%s, want\n%s", found.Stdout, want)
	}
	if _, err := os.Lstat("/etc/escaped"); err == nil {
		t.Error("a layer has written to the host")
	}

	r.mu.Lock()
	r.broken = second
	r.mu.Unlock()
	if o := observe(t, "machctl", "create", "oci2", "--from", ref); o.Code == 0 || !strings.Contains(o.Stderr, "is not what has the digest "+second) {
		t.Errorf("with another layer than the manifest has: %+v", o)
	}
	if o := observe(t, "machctl", "create", "oci2", "--from", strings.TrimSuffix(ref, ":1")+":2"); o.Code == 0 || !strings.Contains(o.Stderr, "404") {
		t.Errorf("that is not there: %+v", o)
	}
	wantNoTrace(t, "oci2")
}

// TestMachdCreatesOfAURL downloads an archive, once unchecked and once with its
// checksum beside it.
func TestMachdCreatesOfAURL(t *testing.T) {
	imagesGoAfter(t, "url")
	dir := t.TempDir()
	run(t, "tar", "-C", filepath.Join(guests, "tiny"), "-czf", filepath.Join(dir, "tiny.tar.gz"), ".")
	run(t, "bash", "-c", "cd "+dir+"; sha256sum tiny.tar.gz >SHA256SUMS")
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer server.Close()
	if o := observe(t, "machctl", "create", "url", "--from", server.URL+"/tiny.tar.gz"); o.Code == 0 || !strings.Contains(o.Stderr, "verify") {
		t.Errorf("of what nobody has signed: %+v", o)
	}
	wantNoTrace(t, "url")
	for _, verify := range []string{"no", "checksum"} {
		if o := observe(t, "machctl", "create", "url", "--from", server.URL+"/tiny.tar.gz", "--verify="+verify); o.Code != 0 {
			t.Fatalf("%s: %+v", verify, o)
		}
		if o := observe(t, "diff", "-r", "--no-dereference", "-x", "dev", filepath.Join(guests, "tiny"), filepath.Join(guests, "url")); o.Code != 0 {
			t.Errorf("%s: %s", verify, o.Stdout)
		}
		run(t, "machctl", "remove", "-y", "url")
	}
}
