package booted

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/machd/machd/test/live"
)

// squashed is a squashfs of a system with users, packed by gzip and base64.
const squashed = `
H4sIAAAAAAACA8soLixmZ4ACAQYGRgYQ5mE4ACRZgOwDUKkyRgidB6X/Q0EXVP42lLaFyidA6Ypbn0s26p56rnXqvP7GVRuMGJy0a7X/Ljlj8/
cRT8eKaVMXikoUMDLIv+QJ8geqTU6KOHSCgdWHZ0UDr07bhHS3ycLOk9MdJ01nTKpTSEup4J6e7rLpuFjHzYtPbk54MlNyjUTExSeRE+8osk5x
v36+7wlfaJsDG58CL4MAF3trANjABgY1i7MnJ8SviZ4ya/KsiDmrDhzgEElM1fDQ0dPzL2TY5LjnUc+RKX+KVrCxmSnkMSRNODXnjIrbCoMOvw
au5dNU9BMSGI29u7sZvHz5XvMBTfROaGDQ1eBlYE9g6NaFelISLO7AyhVwi9FLv+ESb8AvhilsDPYWTAtdoUpYGkBkBiPDKBgFo2AUjIJRMApG
wSgYBaNgFIyCUTAAAADWvpF0ABAAAA==
`

// luksHeader and verityHeader are what libblkid knows such a device by.
const (
	luksHeader   = `import struct,sys; sys.stdout.buffer.write(struct.pack('>6sH32s32s32sII56x40s', b'LUKS\xba\xbe', 1, b'aes', b'xts-plain64', b'sha256', 4096, 32, b'25ecc271-0a54-4a0c-a0b5-f2b5dbd3b8a1').ljust(16 << 20, b'\0'))`
	verityHeader = `import struct,sys; sys.stdout.buffer.write(struct.pack('<8sII16s32sIIQH', b'verity', 1, 1, b'0123456789abcdef', b'sha256', 4096, 4096, 4096, 32).ljust(1 << 20, b'\0'))`
)

// diskShop makes disk images of a system that has the users root and alice.
type diskShop struct {
	tree, plain string // the files; and an ext4 of them, which is nobody's image
}

func openDiskShop(t *testing.T) diskShop {
	t.Helper()
	nameKernelsPartitions(t)
	// Devices are the kernel's, and others' than this host's.
	t.Cleanup(func() {
		run(t, "sh", "-c", "losetup -nl -O NAME,BACK-FILE | awk -v dir=$0/disk- 'index($2, dir) == 1 { print $1 }' | xargs -r losetup -d", guests)
	})
	dir := t.TempDir()
	s := diskShop{filepath.Join(dir, "tree"), filepath.Join(dir, "plain")}
	run(t, "cp", "-a", filepath.Join(guests, "tiny"), s.tree)
	must(t, os.MkdirAll(filepath.Join(s.tree, "root"), 0o700))
	for path, text := range map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n",
		"etc/shadow": "root:*:1::::::\nalice:*:1::::::\n",
	} {
		must(t, os.WriteFile(filepath.Join(s.tree, path), []byte(text), 0o644))
	}
	must(t, os.Chmod(filepath.Join(s.tree, "etc/shadow"), 0o640))
	must(t, os.Chown(filepath.Join(s.tree, "etc/shadow"), 0, 42))
	makeFileSystem(t, s.plain, s.tree)
	return s
}

// path is that of an image, which goes with the test.
func (s diskShop) path(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(guests, name+".raw")
	t.Cleanup(func() { os.Remove(path) })
	return path
}

// gpt makes an image with a partition table.
func (s diskShop) gpt(t *testing.T, name string, partitions ...string) (path string) {
	t.Helper()
	path = s.path(t, name)
	run(t, append([]string{"python3", "-c", makeDisk, path}, partitions...)...)
	return path
}

// look runs a script in the root of a disk image.
func (s diskShop) look(t *testing.T, path, script string) string {
	t.Helper()
	o := observe(t, "systemd-dissect", "--read-only", "--image-policy=root=unprotected:=ignore", "--with", path, "sh", "-c", script)
	if o.Code != 0 {
		t.Errorf("%s: %+v", script, o)
	}
	return o.Stdout
}

// hash is that of a user's password.
func (s diskShop) hash(t *testing.T, path, user string) string {
	t.Helper()
	return strings.TrimSpace(s.look(t, path, "sed -n 's/^"+user+":\\([^:]*\\):.*/\\1/p' etc/shadow"))
}

func isHash(t *testing.T, hash, password string) bool {
	t.Helper()
	return hash != "" && hash == observe(t, "perl", "-e", `print crypt($ARGV[0], $ARGV[1])`, password, hash).Stdout
}

// wantNothingMounted wants no loop device to be left, and no mount.
func wantNothingMounted(t *testing.T) {
	t.Helper()
	eventually(t, "all loop devices are free", func() error {
		if o := observe(t, "losetup", "--noheadings", "--list", "--output", "BACK-FILE"); strings.Contains(o.Stdout, guests) {
			return fmt.Errorf("there are %s", o.Stdout)
		}
		return nil
	})
	if o := observe(t, "grep", "-E", "run/machd/root| - ext4 /dev/loop", "/proc/1/mountinfo"); o.Stdout != "" {
		t.Errorf("there are mounts left: %s", o.Stdout)
	}
}

// setDiskPassword sets the password c8.
func setDiskPassword(t *testing.T, args ...string) outcome {
	t.Helper()
	return observe(t, "bash", "-c", "machctl passwd "+strings.Join(args, " ")+" --password-file <(echo c8)")
}

// TestMachdPasswordsInDiskImages sets them in file systems with and without a
// partition table.
func TestMachdPasswordsInDiskImages(t *testing.T) {
	s := openDiskShop(t)
	run(t, "cp", s.plain, s.path(t, "disk-plain"))
	s.gpt(t, "disk-gpt", rootPartition+"="+s.plain)
	s.gpt(t, "disk-home", homePartition+"="+s.plain, rootPartition+"="+s.plain)
	for name, root := range map[string]int{"disk-plain": 0, "disk-gpt": 1, "disk-home": 17} { // MiB, where it begins
		path := filepath.Join(guests, name+".raw")
		for _, user := range []string{"root", "alice"} {
			if o := setDiskPassword(t, name, user); o.Code != 0 || !strings.Contains(o.Stderr, "the password of "+user+" in "+name+" is set") {
				t.Fatalf("%s: %+v", name, o)
			}
			if hash := s.hash(t, path, user); !isHash(t, hash, "c8") {
				t.Errorf("%s: the hash of %s is %q", name, user, hash)
			}
		}
		if is := s.look(t, path, "stat -c '%a %u %g' etc/shadow; ls -A etc | grep shadow"); is != "640 0 42\nshadow\n" {
			t.Errorf("%s: shadow is %q", name, is)
		}
		run(t, "machctl", "passwd", name, "alice", "--lock")
		if hash := s.hash(t, path, "alice"); hash != "!*" {
			t.Errorf("%s: locked: %q", name, hash)
		}
		if o := setDiskPassword(t, name, "carol"); o.Code == 0 || !strings.Contains(o.Stderr, "There is no user 'carol' in it") {
			t.Errorf("%s: of nobody: %+v", name, o)
		}
		run(t, "e2fsck", "-fn", fmt.Sprintf("%s?offset=%d", path, root<<20))
	}
	wantNothingMounted(t)
}

// TestMachdRefusesPasswordsInDiskImages says why there can be none, and changes
// nothing.
func TestMachdRefusesPasswordsInDiskImages(t *testing.T) {
	s := openDiskShop(t)
	dir := t.TempDir()
	file := func(name, script string) string {
		path := filepath.Join(dir, name)
		run(t, "bash", "-c", script+" >$0", path)
		return path
	}
	squashfs := file("squashfs", "base64 -d <<<'"+squashed+"' | gunzip")
	luks := file("luks", "python3 -c \""+luksHeader+"\"")
	verity := file("verity", "python3 -c \""+verityHeader+"\"")
	whole := func(name, file string) { run(t, "cp", file, s.path(t, name)) }
	whole("disk-squashfs", squashfs)
	whole("disk-luks", luks)
	whole("disk-noise", file("noise", "head -c 4M /dev/urandom"))
	whole("disk-readonly", s.plain)
	must(t, os.Chmod(filepath.Join(guests, "disk-readonly.raw"), 0o444))
	s.gpt(t, "disk-squashpart", rootPartition+"="+squashfs)
	s.gpt(t, "disk-lukspart", rootPartition+"="+luks)
	s.gpt(t, "disk-verity", rootPartition+"="+s.plain, verityPartition+"="+verity)
	s.gpt(t, "disk-several", linuxPartition+"="+s.plain, linuxPartition+"="+s.plain)
	s.gpt(t, "disk-none", homePartition+"="+s.plain)
	t.Setenv("PARTITION_FLAGS", "0x1000000000000000") // read-only
	s.gpt(t, "disk-marked", rootPartition+"="+s.plain)
	for name, want := range map[string][]string{
		"disk-squashfs":   {"its root file system is squashfs, which cannot be written", "--copy-from"},
		"disk-squashpart": {"its root file system is squashfs, which cannot be written", "--copy-from"},
		"disk-luks":       {"its root file system is encrypted", "start a machine from it"},
		"disk-lukspart":   {"its root file system is encrypted", "start a machine from it"},
		"disk-verity":     {"protected by verity", "where the image is built"},
		"disk-several":    {"several of its partitions could be the root", "give one the type"},
		"disk-none":       {"it has no root partition", "give one the type"},
		"disk-marked":     {"its root partition is marked as read-only", "--part-attrs"},
		"disk-noise":      {"Couldn't identify a suitable partition table or file system"},
		"disk-readonly":   {"it is read-only", "machctl read-only disk-readonly no"},
	} {
		path := filepath.Join(guests, name+".raw")
		was := observe(t, "sha256sum", path).Stdout
		o := setDiskPassword(t, name)
		if o.Code != 1 || !strings.Contains(o.Stderr, "in image \""+name+"\"") {
			t.Errorf("%s: %+v", name, o)
		}
		for _, text := range want {
			if !strings.Contains(o.Stderr, text) {
				t.Errorf("%s: nothing of %q: %s", name, text, o.Stderr)
			}
		}
		if is := observe(t, "sha256sum", path).Stdout; is != was {
			t.Errorf("%s has changed", name)
		}
	}
	wantNothingMounted(t)
	o := observe(t, "bash", "-c", "machctl create disk-made --from "+squashfs+" --root-password-file <(echo c8)")
	if o.Code != 1 || !strings.Contains(o.Stderr, "root cannot be let in: its root file system is squashfs") {
		t.Errorf("made of a squashfs: %+v", o)
	}
	wantNoTrace(t, "disk-made")
}

// TestMachdRefusesPasswordsInDisksThatAreUsed tries those that are used by who
// takes systemd's locks, and by who does not.
func TestMachdRefusesPasswordsInDisksThatAreUsed(t *testing.T) {
	s := openDiskShop(t)
	path := s.gpt(t, "disk-used", rootPartition+"="+s.plain)
	refused := func(what, want string) {
		t.Helper()
		was := observe(t, "sha256sum", path).Stdout
		if o := setDiskPassword(t, "disk-used"); o.Code != 1 || !strings.Contains(o.Stderr, `image "disk-used" is in use: `+want) {
			t.Errorf("%s: %+v", what, o)
		}
		if is := observe(t, "sha256sum", path).Stdout; is != was {
			t.Errorf("%s: it has changed", what)
		}
	}
	device := strings.TrimSpace(observe(t, "losetup", "--find", "--show", path).Stdout)
	refused("a loop device", device+" shows it")
	run(t, "losetup", "--detach", device)

	locker := exec.Command("python3", "-c", `
import fcntl, struct, sys
f = open(sys.argv[1])
fcntl.fcntl(f, 37, struct.pack('hhqqi4x', fcntl.F_RDLCK, 0, 100, 1, 0)) # F_OFD_SETLK, as qemu does
print(flush=True); sys.stdin.read()`, path)
	input, err := locker.StdinPipe()
	must(t, err)
	output, err := locker.StdoutPipe()
	must(t, err)
	must(t, locker.Start())
	t.Cleanup(func() { input.Close(); locker.Wait() })
	_, err = output.Read(make([]byte, 1))
	must(t, err)
	refused("a lock", "another program has locked it")
	input.Close()
	must(t, locker.Wait())

	if live.Host.Version >= 262 { // before, systemd-nspawn opens no disk image in a container
		w := watch(t)
		nspawn := exec.Command("systemd-nspawn", "-q", "-M", "other", "-i", path, "sleep", "infinity")
		must(t, nspawn.Start())
		t.Cleanup(func() {
			observe(t, "machinectl", "terminate", "other")
			nspawn.Wait()
		})
		w.await(t, "MachineNew", "other")
		if o := setDiskPassword(t, "disk-used"); o.Code != 1 || !strings.Contains(o.Stderr, `image "disk-used" is in use: stop the machine`) {
			t.Errorf("a machine: %+v", o)
		}
		run(t, "machinectl", "terminate", "other")
		nspawn.Wait()
		w.await(t, "MachineRemoved", "other")
	}
	if o := setDiskPassword(t, "disk-used"); o.Code != 0 || !isHash(t, s.hash(t, path, "root"), "c8") {
		t.Errorf("when it is free: %+v", o)
	}
	wantNothingMounted(t)
}

// TestMachdPasswordsInBlockDevices has a device for an image.
func TestMachdPasswordsInBlockDevices(t *testing.T) {
	s := openDiskShop(t)
	path := filepath.Join(guests, "disk-backing") // no image: it has no suffix
	node := filepath.Join(guests, "disk-block")
	run(t, "cp", s.plain, path)
	t.Cleanup(func() { os.Remove(path); os.Remove(node) })
	device := strings.TrimSpace(observe(t, "losetup", "--find", "--show", path).Stdout)
	run(t, "sh", "-c", "mknod -m 660 $0 b $(stat -c '0x%t 0x%T' $1)", node, device)
	mounted := t.TempDir()
	run(t, "mount", device, mounted)
	if o := setDiskPassword(t, "disk-block"); o.Code != 1 || !strings.Contains(o.Stderr, `image "disk-block" is in use: unmount`) {
		t.Errorf("while it is mounted: %+v", o)
	}
	run(t, "umount", mounted)
	if o := setDiskPassword(t, "disk-block"); o.Code != 0 {
		t.Errorf("when it is free: %+v", o)
	}
	run(t, "losetup", "--detach", device)
	if hash := s.hash(t, path, "root"); !isHash(t, hash, "c8") {
		t.Errorf("the hash is %q", hash)
	}
	wantNothingMounted(t)
}

// TestMachdDisksLeadNowhereElse has links and missing files in the image.
func TestMachdDisksLeadNowhereElse(t *testing.T) {
	s := openDiskShop(t)
	path := s.path(t, "disk-odd")
	was := observe(t, "sha256sum", "/etc/shadow", "/etc/passwd").Stdout
	for what, odd := range map[string]struct{ script, want string }{
		"a link of the file":      {"rm etc/shadow; ln -s /etc/shadow etc/shadow", "etc/shadow"},
		"a link upwards":          {"rm etc/shadow; ln -s ../../../../../../../../../etc/shadow etc/shadow", "etc/shadow"},
		"a link of the directory": {"mv etc etc.moved; ln -s ../../../../../../../etc etc", "too many levels"},
		"a FIFO":                  {"rm etc/shadow; mkfifo etc/shadow", "etc/shadow: is no regular file"},
		"no users":                {"rm etc/passwd etc/shadow", "there is no /etc/passwd in it"},
	} {
		tree := filepath.Join(t.TempDir(), "tree")
		run(t, "sh", "-c", "cp -a $0 $1; cd $1; "+odd.script, s.tree, tree)
		makeFileSystem(t, path, tree)
		if o := setDiskPassword(t, "disk-odd"); o.Code != 1 || !strings.Contains(o.Stderr, odd.want) {
			t.Errorf("%s: %+v", what, o)
		}
		os.Remove(path)
	}
	if is := observe(t, "sha256sum", "/etc/shadow", "/etc/passwd").Stdout; is != was {
		t.Error("the host's users have changed")
	}
	wantNothingMounted(t)
}

// TestMachdUndoesMountsOfDisks kills who is at work.
func TestMachdUndoesMountsOfDisks(t *testing.T) {
	s := openDiskShop(t)
	path := s.gpt(t, "disk-killed", rootPartition+"="+s.plain)
	const slow, mounted = "/usr/local/sbin/systemd-dissect", "/run/disk-is-mounted"
	must(t, os.WriteFile(slow, []byte("#!/bin/sh\n/usr/bin/systemd-dissect \"$@\" || exit\ncase \"$*\" in --mount*) touch "+mounted+"; exec sleep 60; esac\n"), 0o755))
	t.Cleanup(func() { os.Remove(slow) })
	w := watch(t)
	for what, end := range map[string]func(){
		"the daemon": func() { run(t, "systemctl", "kill", "--signal=KILL", "--kill-whom=main", theService) },
		"all of it":  func() { w.kill(t) },
		"the helper": func() { run(t, "pkill", "--signal=KILL", "--full", "--", "--mount-disk") },
	} {
		os.Remove(mounted)
		cmd := exec.Command("bash", "-c", "machctl passwd disk-killed --password-file <(echo c8)")
		must(t, cmd.Start())
		eventually(t, "the disk is mounted", func() error { _, err := os.Stat(mounted); return err })
		if o := observe(t, "losetup", "--list", "--noheadings", "--output", "BACK-FILE"); !strings.Contains(o.Stdout, path) {
			t.Errorf("%s: it is not mounted: %+v", what, o)
		}
		end()
		if cmd.Wait() == nil {
			t.Errorf("%s: the password is said to be set", what)
		}
		wantNothingMounted(t)
		if hash := s.hash(t, path, "root"); hash != "*" {
			t.Errorf("%s: the hash is %q", what, hash)
		}
	}
	os.Remove(slow)
	w.list(t)
	if o := setDiskPassword(t, "disk-killed"); o.Code != 0 {
		t.Errorf("afterwards: %+v", o)
	}
}

// TestMachdCreatesDiskImagesWithUsers lets root into what is made of disk images.
func TestMachdCreatesDiskImagesWithUsers(t *testing.T) {
	s := openDiskShop(t)
	imagesGoAfter(t, "disk-made")
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "key.pub"), []byte("ssh-ed25519 AAAAC3Nza c8@host\n"), 0o644))
	s.gpt(t, "disk-base", rootPartition+"="+s.plain)
	for _, from := range []string{s.plain, "disk-base", filepath.Join(guests, "disk-base.raw")} {
		o := observe(t, "bash", "-c", fmt.Sprintf("cd %s; machctl create disk-made --from %s --read-only --root-password-file <(echo c8) --ssh-key key.pub", dir, from))
		made := filepath.Join(guests, "disk-made.raw")
		if o.Code != 0 || !isHash(t, s.hash(t, made, "root"), "c8") {
			t.Fatalf("%s: %+v", from, o)
		}
		if keys := s.look(t, made, "stat -c '%a %u' root/.ssh root/.ssh/authorized_keys; cat root/.ssh/authorized_keys"); keys != "700 0\n600 0\nssh-ed25519 AAAAC3Nza c8@host\n" {
			t.Errorf("%s: keys: %q", from, keys)
		}
		wantNothingMounted(t)
		run(t, "machctl", "read-only", "disk-made", "no")
		run(t, "machctl", "remove", "disk-made")
	}
}
