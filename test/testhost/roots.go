package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/test/need"
)

// A root is the recipe of one file tree in the cache.
type root struct {
	name, suite, variant string
	include              string // packages, blank separated
	pluck                string // a package that is not installed, and paths in it to have all the same
	script               string // run by sh inside, at the end
	base                 *root  // which it begins as a copy of; suite and variant are that one's
}

const mirror = "http://deb.debian.org/debian"

// hostPackages: libpam-systemd is what polkitd needs to know of sessions.
const hostPackages = "systemd-sysv libpam-systemd dbus-broker dbus-daemon polkitd systemd-container nftables iproute2 " +
	"iputils-ping procps curl python3-minimal btrfs-progs xfsprogs e2fsprogs kmod less vim-tiny login passwd"

// clientPackages are programs that know systemd-machined, and its own tests.
const clientPackages = " systemd-tests systemd-resolved systemd-userdbd libnss-mymachines libnss-resolve libnss-systemd " +
	"openssh-server openssh-client python3-dbus jq dbus-user-session ansible-core tmux debootstrap dnf createrepo-c rpm"

// clientFiles are ansible's way to become another user through machinectl, of a
// package of 200 MB.
const clientFiles = "ansible usr/lib/python3/dist-packages/ansible_collections/community/general/plugins/become/machinectl.py"

// vmPackages: Debian 13 has libvirt's one daemon, not yet the split ones, and
// no systemd-vmspawn.
const vmPackages = " libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients qemu-system-x86"

// vmspawnPackages are what systemd-vmspawn starts a machine with that stays in
// its firmware.
const vmspawnPackages = " qemu-system-x86 seabios ipxe-qemu"

// firewallPackages are programs that make rules for packets of everybody, and
// what others run machines or containers with that have networks.
const firewallPackages = "iptables firewalld ufw docker.io libvirt-daemon libvirt-daemon-driver-network libvirt-clients dnsmasq-base"

// firewallScript leaves it to the tests which of them is there.
const firewallScript = quietBoot + `
for unit in firewalld.service ufw.service docker.service docker.socket containerd.service libvirtd.service libvirtd.socket \
  libvirtd-ro.socket libvirtd-admin.socket virtlogd.service virtlogd.socket virtlogd-admin.socket libvirt-guests.service dnsmasq.service; do
  ! systemctl -q is-enabled $unit 2>/dev/null || systemctl -q disable $unit
done
echo testhost >/etc/hostname
`

// addressPackages are programs that ask for the address of a link.
const addressPackages = "network-manager ifupdown isc-dhcp-client dhcpcd"

// addressScript leaves it to the tests which of them is there.
const addressScript = quietBoot + `
for unit in NetworkManager.service NetworkManager-dispatcher.service NetworkManager-wait-online.service networking.service \
  ifupdown-wait-online.service dhcpcd.service wpa_supplicant.service; do
  ! systemctl -q is-enabled $unit 2>/dev/null || systemctl -q disable $unit
done
`

// otherPackages are programs that publish ports of their containers by themselves.
const otherPackages = "podman crun netavark aardvark-dns incus-base incus-client dnsmasq-base"

// otherScript leaves it to the bench to start what it measures. Programs that
// answer for names want a file of servers to ask, even one without any.
const otherScript = quietBoot + `
for unit in podman.service podman.socket podman-auto-update.timer podman-auto-update.service podman-restart.service \
  podman-clean-transient.service netavark-dhcp-proxy.socket netavark-dhcp-proxy.service incus.service incus.socket \
  incus-user.socket incus-startup.service lxcfs.service; do
  ! systemctl -q is-enabled $unit 2>/dev/null || systemctl -q disable $unit
done
echo testhost >/etc/hostname
: >/etc/resolv.conf
`

// quietBoot keeps a fresh copy from doing first-boot work at each boot, and
// from looking like the machine that built it.
const quietBoot = `
: >/etc/machine-id
rm -f /etc/resolv.conf /etc/hostname
systemctl -q mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
  systemd-modules-load.service modprobe@.service
systemd-tmpfiles --create --prefix=/var >/dev/null 2>&1 || true
journalctl --update-catalog >/dev/null 2>&1 || true
ldconfig
touch -d 2100-01-01 /etc/.updated /var/.updated
`

const hostScript = quietBoot + `
echo testhost >/etc/hostname
printf '127.0.0.1 localhost\n::1 localhost\n127.0.1.1 testhost\n' >/etc/hosts
useradd -m -s /bin/bash alice
useradd -m -s /bin/bash bob
mkdir -p /var/lib/machines /src /opt/machd-test
`

// forkyScript: systemd-nspawn gives a host a boot ID of its own by a mount below
// /proc. logind of 262 has a /proc of its own without it, and takes the leader
// of every new session for a process of another boot.
const forkyScript = `
mkdir -p /etc/systemd/system/systemd-logind.service.d
printf '[Service]\nProtectControlGroups=no\n' >/etc/systemd/system/systemd-logind.service.d/boot-id.conf
`

// clientScript keeps what the boot does not need off until a test starts it: a
// daemon behind NSS that is started by its socket would be started by each look-up.
// Of systemd's tests only the scripts stay.
const clientScript = `
systemctl -q disable ssh.service systemd-resolved.service systemd-userdbd.socket
for unit in sshd-keygen.service systemd-resolved-varlink.socket systemd-resolved-monitor.socket; do
  ! systemctl -q is-enabled $unit 2>/dev/null || systemctl -q disable $unit
done
find /usr/lib/systemd/tests -mindepth 1 -maxdepth 1 ! -name testdata -exec rm -rf {} +
find /usr/lib/systemd/tests/testdata -mindepth 1 -maxdepth 1 ! -name units -exec rm -rf {} +
`

// vmScript: where version 1 hierarchies own all cgroup controllers, libvirt
// takes the host for one without cgroups, and registers no machine. It is shown
// a controller that it has no use for.
const vmScript = `
mkdir -p /etc/systemd/system/libvirtd.service.d
echo misc >/etc/libvirt/cgroup.controllers
cat >/etc/systemd/system/libvirtd.service.d/controllers.conf <<EOF
[Service]
BindReadOnlyPaths=/etc/libvirt/cgroup.controllers:/sys/fs/cgroup/cgroup.controllers
EOF
`

// guestScript: systemd makes sockets of sshd's for the host by itself.
const guestScript = quietBoot + `
echo root:c8 | chpasswd
systemctl -q disable ssh.service
`

const tinyScript = `
/usr/bin/busybox mkdir -p /proc /sys /dev /tmp /run /root /etc /var /usr/lib /usr/bin /usr/sbin
for dir in bin sbin lib; do /usr/bin/busybox ln -sfn usr/$dir /$dir; done
/usr/bin/busybox --install -s
printf 'ID=tiny\nNAME=Tiny\nPRETTY_NAME="Tiny without systemd"\nVERSION_ID=1\n' >/etc/os-release
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >/etc/passwd
printf 'root:x:0:\nnogroup:x:65534:\n' >/etc/group
: >/etc/machine-id
`

var (
	trixie = root{"trixie", "trixie", "minbase", hostPackages + clientPackages, clientFiles, hostScript + clientScript, nil}
	forky  = root{"forky", "forky", "minbase", hostPackages + clientPackages + vmspawnPackages, clientFiles, hostScript + forkyScript + clientScript, nil}
	vm     = root{"vm", "trixie", "minbase", hostPackages + vmPackages, "", hostScript + vmScript, nil}
	guest  = root{"c8-ns", "trixie", "minbase", "systemd-sysv libpam-systemd dbus iproute2 iputils-ping procps " +
		"busybox login passwd libnss-systemd dbus-user-session openssh-server", "", guestScript, nil}
	tiny = root{"tiny", "trixie", "extract", "busybox-static", "", tinyScript, nil}

	firewalls = root{name: "firewalls", include: firewallPackages, script: firewallScript, base: &trixie}
	addresses = root{name: "c8-net", include: addressPackages, script: addressScript, base: &guest}
	others    = root{name: "others", include: otherPackages, script: otherScript, base: &trixie}

	guests = []root{guest, tiny}
	// all are those that tests run on. The others are built when they are asked for.
	all = []root{trixie, forky, vm, guest, tiny, firewalls, addresses}
)

// id changes with the recipe, so that a changed recipe is a root not built yet.
func (r root) id() string {
	recipe := []string{r.suite, r.variant, r.include, r.script}
	if r.pluck != "" {
		recipe = append(recipe, r.pluck)
	}
	if r.hasMirror() {
		recipe = append(recipe, mirrorHook(r.suite))
	}
	if r.base != nil {
		recipe = append(recipe, r.base.id())
	}
	sum := sha256.Sum256([]byte(strings.Join(recipe, "\x00")))
	return fmt.Sprintf("%s-%x", r.name, sum[:4])
}

func (c cache) root(r root) string { return filepath.Join(c.dir, "roots", r.id()) }

func (c cache) built(r root) bool {
	_, err := os.Stat(c.root(r))
	return err == nil
}

// ensure builds those of the roots that are missing, side by side. One that
// begins as a copy waits for the other.
func (c cache) ensure(ctx context.Context, log io.Writer, roots ...root) error {
	if err := os.MkdirAll(filepath.Join(c.dir, "roots"), 0o755); err != nil {
		return err
	}
	errs := make([]error, len(roots))
	var wg sync.WaitGroup
	for i, r := range roots {
		if c.built(r) {
			continue
		}
		wg.Go(func() { errs[i] = c.request(ctx, log, r) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			return fmt.Errorf("cannot build the root %q: %w", roots[i].name, err)
		}
	}
	return nil
}

// request has a contained copy of this program build r, so that an interrupt
// leaves no process and no mount behind.
func (c cache) request(ctx context.Context, log io.Writer, r root) error {
	if r.base != nil {
		if err := c.ensure(ctx, log, *r.base); err != nil {
			return err
		}
	}
	lock, err := lockFile(c.root(r)+".lock", wait)
	if err != nil {
		return err
	}
	defer lock.Close()
	if c.built(r) {
		return nil
	}
	out := &prefixer{w: log, prefix: "  " + r.name + ": "}
	fmt.Fprintf(log, "building %s, once; it takes about half a minute …\n", r.name)
	return need.FromMirror(ctx, log, func() error { return contained(ctx, nil, out, out, "build", c.dir, r.name) })
}

// build makes the root under another name and renames it when it is whole.
func (c cache) build(ctx context.Context, name string) error {
	r, err := rootNamed(name)
	if err != nil {
		return err
	}
	temporary := c.root(r) + ".tmp"
	if err := os.RemoveAll(temporary); err != nil {
		return err
	}
	if r.base != nil {
		err = r.copyBase(ctx, c.root(*r.base), temporary)
	} else {
		err = r.bootstrap(ctx, temporary)
	}
	if err != nil {
		return err
	}
	if err := r.finish(ctx, temporary); err != nil {
		return fmt.Errorf("cannot set up the root: %w", err)
	}
	return os.Rename(temporary, c.root(r))
}

// unchecked: a snapshot or a slow mirror has an index past its date; these roots
// are thrown away and reach no network.
var unchecked = []string{`Acquire::Check-Valid-Until "false"`, `Acquire::Check-Date "false"`}

func (r root) bootstrap(ctx context.Context, dir string) error {
	source := os.Getenv("MACHD_TEST_MIRROR")
	if source == "" {
		source = mirror
	}
	args := []string{"--mode=root", "--variant=" + r.variant, "--include=" + strings.ReplaceAll(r.include, " ", ",")}
	for _, option := range unchecked {
		args = append(args, "--aptopt="+option)
	}
	if r.pluck != "" {
		args = append(args, "--customize-hook="+pluckHook(r.pluck))
	}
	if r.hasMirror() {
		args = append(args, "--customize-hook="+mirrorHook(r.suite))
	}
	return command(ctx, "mmdebstrap", append(args, r.suite, dir, source)...)
}

// pluckHook is a command of mmdebstrap's that takes files of a package without
// installing it.
func pluckHook(pluck string) string {
	name, paths, _ := strings.Cut(pluck, " ")
	return fmt.Sprintf(`cd "$1" && APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get -q download %[1]s && `+
		`dpkg-deb --fsys-tarfile %[1]s_*.deb | tar -x ./%[2]s && rm %[1]s_*.deb`, name, strings.Join(strings.Fields(paths), " ./"))
}

// copyBase leaves it to finish to add the packages.
func (r root) copyBase(ctx context.Context, base, dir string) error {
	if err := command(ctx, "cp", "-a", "--reflink=auto", base, dir); err != nil {
		return err
	}
	// Names are looked up as on this machine while packages come.
	return command(ctx, "cp", "--remove-destination", "/etc/resolv.conf", filepath.Join(dir, "etc/resolv.conf"))
}

func command(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("cannot run %s: %w", name, err)
	}
	return nil
}

// install is the part of the script that adds packages to a copy.
func (r root) install() string {
	if r.base == nil {
		return ""
	}
	options := "-q -o DPkg::Options::=--force-unsafe-io -o APT::Install-Recommends=false"
	for _, option := range unchecked {
		name, value, _ := strings.Cut(option, " ")
		options += " -o " + name + "=" + strings.Trim(value, `"`)
	}
	return "export DEBIAN_FRONTEND=noninteractive\n" +
		"apt-get " + options + " update\napt-get " + options + " -y install " + r.include + "\n" +
		"apt-get clean\nrm -rf /var/lib/apt/lists/*\n"
}

// finish runs the recipe's script inside, with a /proc for its programs.
func (r root) finish(ctx context.Context, dir string) error {
	proc := filepath.Join(dir, "proc")
	if err := os.MkdirAll(proc, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("proc", proc, "proc", 0, ""); err != nil {
		return fmt.Errorf("cannot mount %s: %w", proc, err)
	}
	defer unix.Unmount(proc, 0)

	script := exec.CommandContext(ctx, "chroot", dir, "/bin/sh", "-euc", r.install()+r.script)
	if r.variant == "extract" {
		script.Args = []string{"chroot", dir, "/usr/bin/busybox", "sh", "-euc", r.script}
	}
	script.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"}
	script.Stdout, script.Stderr = os.Stdout, os.Stderr
	return script.Run()
}

func rootNamed(name string) (root, error) {
	for _, r := range append(all, others, kernelOf(trixie), kernelOf(forky)) {
		if r.name == name {
			return r, nil
		}
	}
	return root{}, fmt.Errorf("no root is called %q", name)
}
