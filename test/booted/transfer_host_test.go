package booted

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/machd/machd/test/live"
)

// transferred is what every archive here has: a small root.
var transferred = map[string]string{
	"usr/lib/os-release": "ID=transferred\n",
	"etc/hostname":       "transferred\n",
}

// archiveOf is a tar archive with these files, and so many bytes that are not
// worth to be packed.
func archiveOf(t *testing.T, files map[string]string, ballast int) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, dir := range []string{"usr/", "usr/lib/", "etc/"} {
		must(t, w.WriteHeader(&tar.Header{Name: dir, Mode: 0o755, Typeflag: tar.TypeDir}))
	}
	for name, text := range files {
		must(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}))
		_, err := w.Write([]byte(text))
		must(t, err)
	}
	if ballast > 0 {
		must(t, w.WriteHeader(&tar.Header{Name: "ballast", Mode: 0o644, Size: int64(ballast)}))
		_, err := w.Write(bytes.Repeat([]byte("ballast\n"), ballast/8))
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}

// A mirror is a web server on loopback that has images.
type mirror struct {
	*httptest.Server
	goOn chan struct{} // closed to let what is held go on
	held chan struct{} // closed when the first half of that is sent
}

// serveImages serves files by name, and SHA256SUMS of them. What is called
// held… stops half-way until goOn is closed.
func serveImages(t *testing.T, files map[string][]byte) *mirror {
	t.Helper()
	var sums strings.Builder
	for name, data := range files {
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(data), name)
	}
	m := &mirror{goOn: make(chan struct{}), held: make(chan struct{})}
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, "/")
		data, ok := files[name]
		if name == "SHA256SUMS" {
			data, ok = []byte(sums.String()), true
		}
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		if strings.HasPrefix(name, "held") && r.Method == http.MethodGet {
			_, _ = w.Write(data[:len(data)/2])
			w.(http.Flusher).Flush()
			close(m.held)
			<-m.goOn
			data = data[len(data)/2:]
		}
		_, _ = w.Write(data) // it may have been canceled
	}))
	t.Cleanup(func() {
		m.release()
		m.Close()
	})
	return m
}

func (m *mirror) release() {
	select {
	case <-m.goOn:
	default:
		close(m.goOn)
	}
}

// workDirectory is an empty directory to import from and export to, and the
// pool's images of these names are gone before and after the test.
func workDirectory(t *testing.T, images ...string) string {
	t.Helper()
	forget := func() { forgetImages(t, images...) }
	forget()
	t.Cleanup(forget)
	dir, err := os.MkdirTemp("/var/tmp", "transfer")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	return dir
}

func forgetImages(t *testing.T, images ...string) {
	t.Helper()
	for _, name := range images {
		for _, path := range []string{name, name + ".raw", name + ".mstack"} {
			removeReadOnly(t, filepath.Join("/var/lib/machines", path))
		}
	}
}

// removeReadOnly removes what may be made immutable.
func removeReadOnly(t *testing.T, path string) {
	t.Helper()
	observe(t, "chattr", "-R", "-f", "-i", path)
	must(t, os.RemoveAll(path))
}

// forgetDownloads removes the downloads that are kept, of which an old one may be in the way.
func forgetDownloads(t *testing.T) {
	t.Helper()
	kept, err := filepath.Glob("/var/lib/machines/.[tro]*-http*")
	must(t, err)
	for _, path := range kept {
		removeReadOnly(t, path)
	}
}

func write(t *testing.T, path string, data []byte) string {
	t.Helper()
	must(t, os.WriteFile(path, data, 0o644))
	return path
}

// wantImageFile checks a file of an image.
func wantImageFile(t *testing.T, image, name, want string) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join("/var/lib/machines", image, name))
	if err != nil || string(got) != want {
		t.Errorf("%s of %s is %q, %v; want %q", name, image, got, err, want)
	}
}

// wantTransfer runs machctl and checks its exit code and what it says.
func wantTransfer(t *testing.T, code int, stderr string, args ...string) live.Outcome {
	t.Helper()
	o := observe(t, append([]string{"machctl"}, args...)...)
	if o.Code != code || !strings.Contains(o.Stderr, stderr) {
		t.Errorf("machctl %s: exit status %d\n%s%s\nwant %d and %q", strings.Join(args, " "), o.Code, o.Stdout, o.Stderr, code, stderr)
	}
	return o
}
