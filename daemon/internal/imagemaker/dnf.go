package imagemaker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/pkg/machd"
)

var dnf = tool{"dnf", "dnf", "making Fedora and CentOS systems", "make it of an OCI image, such as oci:registry.fedoraproject.org/fedora"}

// A repository is where dnf gets packages from.
type repository struct {
	name     string
	metalink string // dnf's own variables in it
}

// An rpmFamily is a distribution that dnf makes systems of.
type rpmFamily struct {
	repositories []repository
	keys         string // what its packages are signed with
	packages     []string
}

var rpmFamilies = map[machd.SourceKind]rpmFamily{
	machd.SourceFedora: {
		repositories: []repository{
			{"fedora", "https://mirrors.fedoraproject.org/metalink?repo=fedora-$releasever&arch=$basearch"},
			{"updates", "https://mirrors.fedoraproject.org/metalink?repo=updates-released-f$releasever&arch=$basearch"},
		},
		keys:     "https://fedoraproject.org/fedora.gpg",
		packages: []string{"fedora-release", "systemd", "dbus", "passwd", "dnf", "util-linux", "iproute", "procps-ng"},
	},
	machd.SourceCentOS: {
		repositories: []repository{
			{"baseos", "https://mirrors.centos.org/metalink?repo=centos-baseos-$releasever-stream&arch=$basearch&protocol=https"},
			{"appstream", "https://mirrors.centos.org/metalink?repo=centos-appstream-$releasever-stream&arch=$basearch&protocol=https"},
		},
		keys:     "https://www.centos.org/keys/RPM-GPG-KEY-CentOS-Official",
		packages: []string{"centos-stream-release", "systemd", "dbus", "passwd", "dnf", "util-linux", "iproute", "procps-ng"},
	},
}

// dnf makes a system of Fedora's or CentOS's packages.
func (b *builder) dnf(ctx context.Context, w image.Workshop) error {
	of, o := rpmFamilies[b.wish.Source.Kind], b.wish.Options
	packages := slices.Concat(of.packages, o.Packages)
	if len(o.SSHKeys) > 0 {
		packages = append(packages, "openssh-server")
	}
	path, err := dnf.find()
	if err != nil {
		return err
	}
	if err := w.MakeTree(); err != nil {
		return err
	}
	at, err := bindTree(w)
	if err != nil {
		return err
	}
	defer at.release()
	if err := at.mountKernel(); err != nil {
		return err
	}
	config := filepath.Join(placeDir, "dnf.conf")
	if err := os.WriteFile(config, []byte(of.config(o)), 0o600); err != nil {
		return err
	}
	err = b.execute(ctx, path, nil, append([]string{
		"--config=" + config, "--installroot=" + at.path, "--releasever=" + b.wish.Source.Name, "--assumeyes", "install", "--",
	}, packages...)...)
	if err != nil {
		return err
	}
	if err := at.release(); err != nil {
		return err
	}
	return tidy(ctx, w)
}

// mountKernel mounts what the scripts of packages expect of the kernel.
func (p *place) mountKernel() error {
	for _, dir := range []string{"proc", "dev"} {
		if err := os.MkdirAll(filepath.Join(p.path, dir), 0o755); err != nil {
			return err
		}
	}
	const safe = unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NODEV
	if err := p.mount("proc", "proc", "proc", safe, ""); err != nil {
		return err
	}
	return p.mount("/dev", "dev", "", unix.MS_BIND, "")
}

// config returns dnf's configuration: nothing of the host's own takes part.
func (f rpmFamily) config(o machd.CreateOptions) string {
	var text strings.Builder
	fmt.Fprint(&text, "[main]\nreposdir=/dev/null\ninstall_weak_deps=False\nkeepcache=False\nbest=False\nplugins=False\n")
	check := 1
	if o.Verify == machd.VerifyNo {
		check = 0
	}
	add := func(name, key, value string) {
		fmt.Fprintf(&text, "\n[%[1]s]\nname=%[1]s\n%s=%s\ngpgcheck=%d\ngpgkey=%s\n", name, key, value, check, f.keys)
	}
	if o.Mirror != "" {
		add("mirror", "baseurl", o.Mirror)
		return text.String()
	}
	for _, r := range f.repositories {
		add(r.name, "metalink", r.metalink)
	}
	return text.String()
}
