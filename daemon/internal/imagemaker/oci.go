package imagemaker

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/pkg/machine1"
)

// Media types of what registries have. Docker's are older, and mean the same.
const (
	mediaIndex          = "application/vnd.oci.image.index.v1+json"
	mediaManifest       = "application/vnd.oci.image.manifest.v1+json"
	mediaDockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
	mediaDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
)

// A descriptor says what a blob of a registry is.
//
// Reference: image-spec, descriptor.md.
type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
	Platform  struct {
		OS           string `json:"os"`
		Architecture string `json:"architecture"`
	} `json:"platform"`
}

// A manifest is an image, or an index of images for several machines.
//
// Reference: image-spec, manifest.md and image-index.md.
type manifest struct {
	Manifests []descriptor `json:"manifests"`
	Config    descriptor   `json:"config"`
	Layers    []descriptor `json:"layers"`
}

// An ociConfig says, among other things, what an image is meant to run.
//
// Reference: image-spec, config.md.
type ociConfig struct {
	Config struct {
		Entrypoint []string
		Cmd        []string
	} `json:"config"`
}

const (
	maxManifest = 4 << 20 // bytes
	maxLayers   = 256
)

// pullOCI makes the image of one of a registry's: its layers, one above the other.
func (b *builder) pullOCI(ctx context.Context, w image.Workshop) error {
	ref, err := parseReference(b.wish.Source.Name)
	if err != nil {
		return err
	}
	r := &registry{ref: ref}
	m, err := r.manifest(ctx)
	if err != nil {
		return err
	}
	if err := w.MakeTree(); err != nil {
		return err
	}
	for n, layer := range m.Layers {
		b.say(fmt.Sprintf("Layer %d of %d: %s, %d bytes", n+1, len(m.Layers), layer.Digest, layer.Size))
		if err := b.addLayer(ctx, w, r, layer); err != nil {
			return fmt.Errorf("layer %s of %s: %w", layer.Digest, ref, err)
		}
	}
	b.note = r.command(ctx, m)
	return nil
}

// manifest returns that for machines like this one.
func (r *registry) manifest(ctx context.Context) (m manifest, err error) {
	text, err := r.document(ctx, r.ref.manifestPath(r.ref.tagOrDigest()), r.ref.digest)
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil || len(m.Manifests) == 0 {
		return m.checked(r.ref, err)
	}
	for _, d := range m.Manifests {
		if d.Platform.OS != "linux" || d.Platform.Architecture != runtime.GOARCH {
			continue
		}
		text, err := r.document(ctx, r.ref.manifestPath(d.Digest), d.Digest)
		m = manifest{}
		if err == nil {
			err = json.Unmarshal(text, &m)
		}
		return m.checked(r.ref, err)
	}
	return m, machine1.Errorf(machine1.ErrNotSupported, "%s is not there for linux/%s", r.ref, runtime.GOARCH)
}

func (m manifest) checked(ref reference, err error) (manifest, error) {
	switch {
	case err != nil:
		return m, fmt.Errorf("cannot get %s: %w", ref, err)
	case len(m.Layers) == 0 || len(m.Layers) > maxLayers:
		return m, machine1.Errorf(machine1.ErrNotSupported, "%s has %d layers", ref, len(m.Layers))
	}
	return m, nil
}

// addLayer downloads a layer, and puts it above what is there by now when it is
// whole and is what the manifest says.
func (b *builder) addLayer(ctx context.Context, w image.Workshop, r *registry, layer descriptor) error {
	path := filepath.Join(w.Dir.Name(), "layer")
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := os.Remove(path); err != nil {
		return err
	}
	if err := r.blob(ctx, layer, file); err != nil {
		return err
	}
	return b.unpack(ctx, file, w.TreePath())
}

// command tells what the image is meant to run, where it has no init.
func (r *registry) command(ctx context.Context, m manifest) string {
	var c ociConfig
	text, err := r.document(ctx, r.ref.blobPath(m.Config.Digest), m.Config.Digest)
	if err != nil || json.Unmarshal(text, &c) != nil {
		return ""
	}
	argv := append(c.Config.Entrypoint, c.Config.Cmd...)
	if len(argv) == 0 {
		return ""
	}
	return "It is meant to run: " + strings.Join(argv, " ")
}
