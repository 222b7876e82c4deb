package imagemaker

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/machd/machd/daemon/internal/filetree"
	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/daemon/internal/rootfs"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

var debootstrap = tool{"debootstrap", "debootstrap", "making Debian and Ubuntu systems", ""}

// A family is a distribution that debootstrap knows.
type family struct {
	suites  map[string]string // by version; a suite may be named as well
	mirror  string
	keyring string
	keyPkg  string // that has it
}

var families = map[machd.SourceKind]family{
	machd.SourceDebian: {
		suites:  map[string]string{"10": "buster", "11": "bullseye", "12": "bookworm", "13": "trixie", "14": "forky"},
		mirror:  "http://deb.debian.org/debian",
		keyring: "/usr/share/keyrings/debian-archive-keyring.gpg", keyPkg: "debian-archive-keyring",
	},
	machd.SourceUbuntu: {
		suites: map[string]string{
			"20.04": "focal", "22.04": "jammy", "24.04": "noble", "24.10": "oracular", "25.04": "plucky", "25.10": "questing", "26.04": "resolute",
		},
		mirror:  "http://archive.ubuntu.com/ubuntu",
		keyring: "/usr/share/keyrings/ubuntu-archive-keyring.gpg", keyPkg: "ubuntu-keyring",
	},
}

// bootable are the packages that make a system one that boots in a container,
// and can be logged in to.
var bootable = []string{"systemd-sysv", "libpam-systemd", "libnss-systemd", "dbus", "iproute2", "iputils-ping", "procps", "login", "passwd"}

// scripts is where debootstrap has what it knows of suites.
const scripts = "/usr/share/debootstrap/scripts"

// debootstrap makes a system of Debian's or Ubuntu's packages.
func (b *builder) debootstrap(ctx context.Context, w image.Workshop) error {
	path, err := debootstrap.find()
	if err != nil {
		return err
	}
	o, of := b.wish.Options, families[b.wish.Source.Kind]
	suite, ok := of.suites[b.wish.Source.Name]
	if !ok {
		suite = b.wish.Source.Name
	}
	if _, err := os.Stat(filepath.Join(scripts, suite)); err != nil {
		return machine1.Errorf(machine1.ErrInvalidArgs, "debootstrap of this host knows no '%s'; %s lists what it knows", b.wish.Source, scripts)
	}
	packages := slices.Concat(bootable, o.Packages)
	if len(o.SSHKeys) > 0 {
		packages = append(packages, "openssh-server")
	}
	mirror := of.mirror
	if o.Mirror != "" {
		mirror = o.Mirror
	}
	check := []string{"--force-check-gpg", "--keyring=" + of.keyring}
	switch _, err := os.Stat(of.keyring); {
	case o.Verify == machd.VerifyNo:
		check = []string{"--no-check-gpg"}
	case err != nil:
		return machine1.Errorf(machine1.ErrNotSupported,
			"the keys that %s is signed with are not on this host: install the package %s", b.wish.Source, of.keyPkg)
	}
	if err := w.MakeTree(); err != nil {
		return err
	}
	// The tree's own path has characters that scripts may trip over.
	at, err := bindTree(w)
	if err != nil {
		return err
	}
	defer at.release()
	args := append(check, "--variant=minbase", "--include="+strings.Join(packages, ","), suite, at.path, mirror)
	if err := b.execute(ctx, path, nil, args...); err != nil {
		b.sayLog(w)
		return err
	}
	return tidy(ctx, w)
}

// sayLog says the end of debootstrap's log, which has what the programs have said
// that it ran.
func (b *builder) sayLog(w image.Workshop) {
	root, err := w.Tree()
	if err != nil || root == nil {
		return
	}
	defer root.Close()
	const longest = 16 << 20 // bytes
	text, err := rootfs.ReadFile(root, "debootstrap/debootstrap.log", longest)
	if err != nil {
		return
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, line := range lines[max(0, len(lines)-keptLines):] {
		b.say(line)
	}
}

// leftovers are what installers leave in a tree that is the host's, or of no
// further use.
var leftovers = []string{
	"etc/hostname", "etc/resolv.conf", "var/cache/apt/archives", "var/lib/apt/lists", "var/cache/dnf", "var/cache/libdnf5", "var/log/dnf.log",
	"var/log/bootstrap.log", "debootstrap",
}

// tidy removes them, and has the system find its identity when it boots first.
func tidy(ctx context.Context, w image.Workshop) error {
	root, err := w.Tree()
	if err != nil {
		return err
	}
	defer root.Close()
	for _, path := range leftovers {
		dir, err := rootfs.Lookup(root, filepath.Dir(path))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		err = filetree.Remove(ctx, dir, filepath.Base(path))
		dir.Close()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	empty := func([]byte) ([]byte, error) { return nil, nil }
	return rootfs.Replace(root, "etc/machine-id", 0o444, 1<<10, empty)
}
