package main

import (
	"fmt"
	"strings"
)

// mirrorTops are the packages that a system is made of in tests, beside those
// that every Debian system has.
const mirrorTops = "apt systemd-sysv libpam-systemd libnss-systemd dbus iproute2 iputils-ping procps login passwd openssh-server"

// hasMirror reports whether the root has a mirror in /opt/debian: a host that
// makes systems of packages has no network to get them from.
func (r root) hasMirror() bool { return strings.Contains(r.include, "debootstrap") }

// mirrorHook is a command of mmdebstrap's that makes the mirror, of mirrorTops and
// what they need, which is in the root as well. Nobody has signed it.
func mirrorHook(suite string) string {
	return fmt.Sprintf(`set -e
mkdir -p "$1/opt/debian/pool" "$1/opt/debian/dists/%[1]s/main/binary-amd64"
cd "$1/opt/debian/pool"
chroot "$1" dpkg-query -W -f '${Package}\n' | sort -u >../installed
APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
  --no-replaces --no-enhances %[2]s $(chroot "$1" dpkg-query -W -f '${Priority} ${Package}\n' | sed -n 's/^required //p') |
  grep '^[a-z0-9]' | cut -d: -f1 | sort -u | comm -12 - ../installed >../names
APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get -q download $({ cat ../names; printf '%%s\n' %[2]s; } | sort -u)
cd ..
rm installed names
for deb in pool/*.deb; do
  dpkg-deb -f $deb
  printf 'Filename: %%s\nSize: %%s\nSHA256: %%s\n\n' $deb $(stat -c %%s $deb) $(sha256sum <$deb | cut -d' ' -f1)
done >dists/%[1]s/main/binary-amd64/Packages
cd dists/%[1]s
printf 'Suite: %[1]s\nCodename: %[1]s\nComponents: main\nArchitectures: amd64\nSHA256:\n' >Release
printf ' %%s %%s main/binary-amd64/Packages\n' $(sha256sum <main/binary-amd64/Packages | cut -d' ' -f1) \
  $(stat -c %%s main/binary-amd64/Packages) >>Release
`, suite, mirrorTops)
}
