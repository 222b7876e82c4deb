package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/test/need"
)

// A host can be a virtual machine with a kernel of its own, Debian's of the
// same suite: it has what this machine's kernel, and a container on it, lack.
// Its root is the very tree that a container would get, over virtiofs, which
// that kernel has built in. The guests are on a disk, since machines want
// ID-mapped mounts. There is no network, no udev, and no initial RAM disk.

// kernelScript keeps the modules, with the kernel beside them. In Debian 13 it
// is in /boot.
const kernelScript = `
for dir in bin sbin lib lib64; do /usr/bin/busybox ln -sfn usr/$dir /$dir; done
cd /usr/lib/modules
for version in *; do
  [ -e $version/vmlinuz ] || busybox mv /boot/vmlinuz-$version $version/vmlinuz
  /usr/sbin/depmod $version # not busybox's
done
cd /usr/lib
for name in *; do [ $name = modules ] || set -- "$@" $name; done
exec busybox rm -rf "$@" /bin /sbin /lib /lib64 /boot /dev /etc /run /tmp /var /usr/[!l]* /usr/l[!i]* /usr/lib[!/]*
`

const (
	// virtualBootTime is long since every instruction is interpreted, on a machine
	// that may have other work.
	virtualBootTime = 20 * time.Minute
	virtualMemory   = "2G"
	diskSize        = "4G" // sparse
	portName        = "testhost."
)

// kernelArgs: no device unit comes up without udev, so nothing may wait for
// the console's. A terminal that is asked for its size and colours has to
// answer, and this one is a file. IPv6 is as some administrators have it, who
// are otherwise not met: off from the start.
var kernelArgs = []string{
	"root=root", "rootfstype=virtiofs", "rw", "console=ttyS0", "loglevel=4",
	"lsm=landlock,lockdown,yama,apparmor,bpf",
	"TERM=dumb", "systemd.tty.term.console=dumb", "systemd.getty_auto=no", "systemd.show_status=no",
	"ipv6.disable=1",
	"mitigations=off", "tsc=reliable", "no_timer_check", "cryptomgr.notests", "random.trust_cpu=on",
	"systemd.default_timeout_start_sec=900",
}

// agentUnit starts what runs the steps; diskUnit mounts the guests. It is no
// mount unit, for which the disk's device unit would have to come up.
const (
	agentUnit = `[Unit]
After=dbus.socket

[Service]
ExecStart=` + filesInside + `/testhost agent
`
	diskUnit = `[Unit]
DefaultDependencies=no
After=systemd-remount-fs.service
Before=local-fs.target

[Service]
Type=oneshot
ExecStart=modprobe -a virtio_blk ext4
ExecStart=mount /dev/vda /var/lib/machines
`
)

func kernelOf(host root) root {
	return root{"kernel-" + host.suite, host.suite, "extract", "linux-image-amd64 busybox-static liblzma5 libzstd1", "", kernelScript, nil}
}

// bootVirtual boots the host as a virtual machine and returns when its default
// target is reached.
func (k *keeper) bootVirtual(ctx context.Context) error {
	if err := k.prepareVirtual(ctx); err != nil {
		return err
	}
	if err := k.startVirtiofsd(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, virtualBootTime)
	defer cancel()
	if err := k.startQemu(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	up, err := k.inside(ctx, "systemctl", "is-system-running", "--wait").Output()
	// The exit status says whether a unit failed, as in the container.
	if state := strings.TrimSpace(string(up)); state != "running" && state != "degraded" {
		output, _ := os.ReadFile(k.logFile("console.txt"))
		return fmt.Errorf("the host does not boot: it is %q: %w\n%s", state, err, lastLines(string(output), 20))
	}
	return nil
}

// prepareVirtual adds to the root what a container gets from systemd-nspawn,
// and the units.
func (k *keeper) prepareVirtual(ctx context.Context) error {
	units := filepath.Join(k.path("root"), "etc/systemd/system")
	for name, text := range map[string]string{"testhost-agent.service": agentUnit, "testhost-disk.service": diskUnit} {
		if err := os.WriteFile(filepath.Join(units, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{"testhost-agent.service": "multi-user.target", "testhost-disk.service": "local-fs.target"} {
		wants := filepath.Join(units, target+".wants")
		if err := os.MkdirAll(wants, 0o755); err != nil {
			return err
		}
		if err := os.Symlink(filepath.Join("..", name), filepath.Join(wants, name)); err != nil {
			return err
		}
	}
	shown := map[string]string{"/src": k.Repo, filesInside: k.Files}
	for _, path := range k.Binds {
		shown[path] = path
	}
	for inside, path := range shown {
		if err := bindReadOnly(path, k.path("root", inside)); err != nil {
			return err
		}
	}
	disk := exec.CommandContext(ctx, "mkfs.ext4", "-q", "-O", "^has_journal", "-d", k.path("machines"), k.path("disk"), diskSize)
	if out, err := disk.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot make the disk of the guests: %w: %s", err, out)
	}
	return nil
}

// bindReadOnly shows a file or a folder under another name, which is made.
func bindReadOnly(path, target string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		err = os.MkdirAll(target, 0o755)
	} else if err = os.MkdirAll(filepath.Dir(target), 0o755); err == nil {
		err = os.WriteFile(target, nil, 0o644)
	}
	if err != nil {
		return err
	}
	if err := unix.Mount(path, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("cannot show %s: %w", path, err)
	}
	return unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
}

// needVirtual installs what a virtual machine takes.
func needVirtual(ctx context.Context) error {
	if err := need.Programs(ctx, os.Stderr, "qemu-system-x86_64", "mkfs.ext4"); err != nil {
		return err
	}
	if _, err := virtiofsd(); err == nil {
		return nil
	}
	// It is not in PATH where it is installed.
	if err := need.Programs(ctx, os.Stderr, "virtiofsd"); err != nil {
		return err
	}
	_, err := virtiofsd()
	return err
}

// startVirtiofsd serves the root. Debian 12 has the program as part of qemu.
func (k *keeper) startVirtiofsd(ctx context.Context) error {
	program, err := virtiofsd()
	if err != nil {
		return err
	}
	log, err := os.Create(k.logFile("virtiofsd.txt"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, program, "--socket-path="+k.path("root.sock"),
		"-o", "source="+k.path("root"), "-o", "xattr", "-o", "cache=always")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		if _, err := os.Stat(k.path("root.sock")); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		select {
		case err := <-ended:
			return fmt.Errorf("%s ended: %w", program, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func virtiofsd() (string, error) {
	for _, name := range []string{"virtiofsd", "/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("there is no virtiofsd (in Debian: the package virtiofsd, or in Debian 12 qemu-system-common)")
}

func (k *keeper) startQemu(ctx context.Context) error {
	kernels, err := filepath.Glob(k.path("root/usr/lib/modules/*/vmlinuz"))
	if err != nil {
		return err
	}
	if len(kernels) != 1 {
		return fmt.Errorf("there are the kernels %q", kernels)
	}
	log, err := os.Create(k.logFile("qemu.txt"))
	if err != nil {
		return err
	}
	defer log.Close()
	qemu := exec.CommandContext(ctx, "qemu-system-x86_64", k.qemuArgs(kernels[0])...)
	qemu.Stdout, qemu.Stderr = log, log
	qemu.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	if err := qemu.Start(); err != nil {
		return err
	}
	k.ended = make(chan struct{})
	go func() {
		qemu.Wait()
		close(k.ended)
	}()
	for n := range agentPorts {
		if err := k.awaitSocket(portSocket(k.Dir, n)); err != nil {
			output, _ := os.ReadFile(log.Name())
			return fmt.Errorf("%w\n%s", err, lastLines(string(output), 20))
		}
	}
	return nil
}

func (k *keeper) qemuArgs(kernel string) []string {
	args := []string{
		// One processor, and none with vectors that have to be interpreted: what
		// waits for another processor's lock would be interpreted, too.
		"-accel", "tcg", "-cpu", "Westmere,+rdrand", "-smp", "1", "-m", virtualMemory,
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", kernel, "-append", strings.Join(kernelArgs, " "),
		"-serial", "file:" + k.logFile("console.txt"),
		// virtiofsd reads and writes the memory of the machine.
		"-object", "memory-backend-memfd,id=memory,share=on,size=" + virtualMemory, "-numa", "node,memdev=memory",
		"-chardev", "socket,id=root,path=" + k.path("root.sock"), "-device", "vhost-user-fs-pci,chardev=root,tag=root",
		"-drive", "if=virtio,format=raw,cache=unsafe,file=" + k.path("disk"),
		"-device", "virtio-serial-pci",
	}
	for n := range agentPorts {
		id := "port" + strconv.Itoa(n)
		args = append(args, "-chardev", "socket,server=on,wait=off,id="+id+",path="+portSocket(k.Dir, n),
			"-device", "virtserialport,chardev="+id+",name="+portName+strconv.Itoa(n))
	}
	return args
}

func (k *keeper) awaitSocket(path string) error {
	for {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		select {
		case <-k.ended:
			return errors.New("qemu ended")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// portSocket is where a port of the machine whose folder is dir is reached.
func portSocket(dir string, n int) string { return filepath.Join(dir, "port"+strconv.Itoa(n)) }

func (k *keeper) logFile(name string) string { return filepath.Join(k.Dir, "logs", name) }
