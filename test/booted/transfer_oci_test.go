package booted

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

const trustedCertificates = "/etc/ssl/certs/ca-certificates.crt"

// serveRegistry serves one OCI image as a registry does, by https, and has the
// host trust the server. It returns the image's reference, without a tag.
func serveRegistry(t *testing.T, name string, layers ...[]byte) string {
	t.Helper()
	blobs := map[string][]byte{}
	type descriptor struct {
		MediaType string `json:"mediaType"`
		Digest    string `json:"digest"`
		Size      int    `json:"size"`
	}
	add := func(kind string, data []byte) descriptor {
		digest := fmt.Sprintf("sha256:%x", sha256.Sum256(data))
		blobs[digest] = data
		return descriptor{"application/vnd.oci.image." + kind, digest, len(data)}
	}
	var packed []descriptor
	var digests []string
	for _, layer := range layers {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, err := w.Write(layer)
		must(t, err)
		must(t, w.Close())
		packed = append(packed, add("layer.v1.tar+gzip", b.Bytes()))
		digests = append(digests, fmt.Sprintf("sha256:%x", sha256.Sum256(layer)))
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Cmd": []string{"/bin/sh"}, "Env": []string{"SAID=yes"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": digests},
	})
	must(t, err)
	const manifestType = "application/vnd.oci.image.manifest.v1+json"
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType, "config": add("config.v1+json", config), "layers": packed,
	})
	must(t, err)
	blobs[add("manifest.v1+json", manifest).Digest] = manifest

	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		base := "/v2/" + name + "/"
		data, ok := blobs[filepath.Base(r.URL.Path)]
		switch {
		case !strings.HasPrefix(r.URL.Path, base):
			ok = false
		case strings.HasPrefix(r.URL.Path, base+"manifests/"):
			w.Header().Set("Content-Type", manifestType)
			if filepath.Base(r.URL.Path) == "1" {
				data, ok = manifest, true
			}
		}
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(data)
	}))
	t.Cleanup(server.Close)
	trust(t, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	return strings.TrimPrefix(server.URL, "https://") + "/" + name
}

// trust has the host's libraries trust a certificate until the test's end.
func trust(t *testing.T, certificate []byte) {
	t.Helper()
	before, err := os.ReadFile(trustedCertificates)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	must(t, os.MkdirAll(filepath.Dir(trustedCertificates), 0o755))
	must(t, os.WriteFile(trustedCertificates, append(certificate, before...), 0o644))
	t.Cleanup(func() { must(t, os.WriteFile(trustedCertificates, before, 0o644)) })
}

// systemd-importd speaks https with registries, and nothing else.
func TestMachd262TransferPullsAnOCIImage(t *testing.T) {
	workDirectory(t, "oci")
	reference := serveRegistry(t, "web",
		archiveOf(t, transferred, 0), archiveOf(t, map[string]string{"etc/hostname": "upper\n"}, 0))
	wantTransfer(t, 1, "failed with code 404", "pull-oci", reference+":nope", "oci")
	wantTransfer(t, 0, "machctl: pulled "+reference+":1 as oci (", "pull-oci", reference+":1", "oci")
	wantTransfer(t, 6, "--force replaces it", "pull-oci", reference+":1", "oci")
	if got := run(t, "machctl", "list-images", "--filter=name=oci", "--format", "{{.name}} {{.type}}"); got != "oci mstack" {
		t.Errorf("the image is %q", got)
	}
	// The layers, the lowest first.
	layers, err := filepath.Glob("/var/lib/machines/oci.mstack/layer@*")
	must(t, err)
	if len(layers) != 2 {
		t.Fatalf("there are the layers %q", layers)
	}
	for i, want := range []string{"transferred\n", "upper\n"} {
		if got, err := os.ReadFile(filepath.Join(layers[i], "etc/hostname")); err != nil || string(got) != want {
			t.Errorf("layer %d has %q, %v", i, got, err)
		}
	}
}
