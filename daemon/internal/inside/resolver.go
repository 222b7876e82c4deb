package inside

import (
	"context"
	"errors"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/rootfs"
)

// A Resolver is what decides in a machine which name servers are asked.
type Resolver int

// What can.
const (
	ResolverFile     Resolver = iota // /etc/resolv.conf, which nobody writes
	ResolverNone                     // the same, and it is not there
	ResolverResolved                 // systemd-resolved, which is told by its own settings
	ResolverOther                    // a program that writes resolv.conf as it is told by DHCP
)

// resolverPrograms are files that are there where a program writes resolv.conf.
// NetworkManager is none: a link that has its addresses before it comes is
// "connected (externally)" to it, and it asks nobody for name servers.
var resolverPrograms = []string{
	"etc/systemd/system/multi-user.target.wants/dhcpcd.service",
	"etc/systemd/system/multi-user.target.wants/connman.service",
	"etc/systemd/system/multi-user.target.wants/networking.service", // ifupdown, whose DHCP client does
	"etc/runlevels/default/dhcpcd",
	"etc/runlevels/boot/networking",
}

// Resolver looks who it is, by the machine's files: at that time nothing runs in
// it.
func (g *Guard) Resolver(ctx context.Context, leader *proc.PIDFD) (Resolver, error) {
	return below(ctx, g, leader, resolverOf, nothing)
}

func resolverOf(root *os.File) (Resolver, error) {
	etc, err := rootfs.Lookup(root, "etc")
	if err != nil {
		return ResolverOther, err
	}
	defer etc.Close()
	var stat unix.Stat_t
	err = unix.Fstatat(int(etc.Fd()), "resolv.conf", &stat, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case errors.Is(err, unix.ENOENT):
		return orOther(root, ResolverNone), nil
	case err != nil:
		return ResolverOther, err
	case stat.Mode&unix.S_IFMT == unix.S_IFREG:
		return orOther(root, ResolverFile), nil
	case stat.Mode&unix.S_IFMT != unix.S_IFLNK:
		return ResolverOther, nil
	}
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(etc.Fd()), "resolv.conf", target)
	if err != nil {
		return ResolverOther, err
	}
	to := string(target[:n])
	if !path.IsAbs(to) {
		to = path.Join("/etc", to)
	}
	switch to {
	case "/run/systemd/resolve/stub-resolv.conf", "/run/systemd/resolve/resolv.conf",
		"/usr/lib/systemd/resolv.conf", "/lib/systemd/resolv.conf":
		return ResolverResolved, nil
	}
	return ResolverOther, nil
}

func orOther(root *os.File, r Resolver) Resolver {
	for _, program := range resolverPrograms {
		if isThere(root, program) {
			return ResolverOther
		}
	}
	return r
}
