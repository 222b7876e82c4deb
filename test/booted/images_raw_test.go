package booted

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/test/live"
)

// makeDisk makes a disk image with a GPT partition table: its arguments are the
// image, and TYPE=FILE for each partition. UEFI specification 2.10, chapter 5.
const makeDisk = `
import os, struct, sys, uuid, zlib
out, parts, first = sys.argv[1], [], 2048
for kind, path in (p.split('=', 1) for p in sys.argv[2:]):
    size = os.path.getsize(path) // 512
    parts.append((kind, path, first, size))
    first += (size + 2047) // 2048 * 2048
last, flags = first + 33, int(os.environ.get('PARTITION_FLAGS', '0'), 0)
entries = b''.join(uuid.UUID(kind).bytes_le + uuid.uuid4().bytes_le + struct.pack('<QQQ72x', at, at + size - 1, flags)
    for kind, path, at, size in parts).ljust(128 * 128, b'\0')
disk = uuid.uuid4().bytes_le
def header(at, other, table):
    def pack(crc): return struct.pack('<8sIIIIQQQQ16sQIII', b'EFI PART', 0x10000, 92, crc, 0, at, other, 34, last - 33,
        disk, table, 128, 128, zlib.crc32(entries))
    return pack(zlib.crc32(pack(0)))
with open(out, 'wb') as f:
    f.truncate((last + 1) * 512)
    f.seek(446); f.write(struct.pack('<8BII', 0, 0, 2, 0, 0xee, 255, 255, 255, 1, last)); f.seek(510); f.write(b'\x55\xaa')
    f.seek(512); f.write(header(1, last, 2)); f.seek(1024); f.write(entries)
    f.seek((last - 32) * 512); f.write(entries); f.write(header(last, 1, last - 32))
    for kind, path, at, size in parts:
        f.seek(at * 512); f.write(open(path, 'rb').read())
`

// Types of partitions. UAPI.2, Discoverable Partitions Specification.
const (
	rootPartition   = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709" // of x86-64
	verityPartition = "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5" // of that root
	homePartition   = "933ac7e1-2eb4-4f13-b844-0e14e2aef915"
	linuxPartition  = "0fc63daf-8483-4772-8e79-3d69d8477de4" // for whatever it is
)

// makeFileSystem makes an ext4 of a tree, 16 MiB.
func makeFileSystem(t *testing.T, out, tree string) {
	t.Helper()
	run(t, "sh", "-c", "truncate -s 16M $0 && mkfs.ext4 -q -d $1 $0", out, tree)
}

// nameKernelsPartitions has partitions of loop devices named in /dev as udev would
// do it, which a container has not.
func nameKernelsPartitions(t *testing.T) {
	t.Helper()
	const kernels = "/run/kernel-dev"
	must(t, os.MkdirAll(kernels, 0o755))
	run(t, "mount", "-t", "devtmpfs", "devtmpfs", kernels)
	var links []string
	t.Cleanup(func() {
		for _, link := range links {
			os.Remove(link)
		}
		run(t, "umount", kernels)
	})
	for i := range 256 {
		name := fmt.Sprintf("loop%dp%d", i/2, i%2+1)
		must(t, os.Symlink(filepath.Join(kernels, name), filepath.Join("/dev", name)))
		links = append(links, filepath.Join("/dev", name))
	}
}

// identity is what an image says about itself.
type identity struct {
	Hostname    string
	MachineID   string
	MachineInfo map[string]string
	OSRelease   map[string]string
}

func (w *watcher) identify(t *testing.T, name string) (i identity, err error) {
	t.Helper()
	var id []byte
	for member, out := range map[string]any{
		"GetImageHostname": &i.Hostname, "GetImageMachineID": &id, "GetImageMachineInfo": &i.MachineInfo, "GetImageOSRelease": &i.OSRelease,
	} {
		if failed := w.call(t, member, []any{name}, out); failed != nil {
			err = failed
		}
	}
	i.MachineID = fmt.Sprintf("%x", id)
	return i, err
}

// TestDiskImagesSayWhatTheyAre is about files with a partition table, with a file
// system alone, and with neither.
func TestDiskImagesSayWhatTheyAre(t *testing.T) {
	nameKernelsPartitions(t)
	w := watch(t)
	const id = "0123456789abcdef0123456789abcdef"
	tree := t.TempDir()
	run(t, "cp", "-a", filepath.Join(guests, "tiny")+"/.", tree)
	for path, text := range map[string]string{
		"etc/os-release": "ID=disk\nNAME=\"On a disk\"\n", "etc/hostname": "# it\ndisk-host\n", "etc/machine-id": id + "\n",
		"etc/machine-info": "PRETTY_HOSTNAME='A disk'\nCHASSIS=vm\n",
	} {
		must(t, os.WriteFile(filepath.Join(tree, path), []byte(text), 0o644))
	}
	disk := func(name string) string {
		path := filepath.Join(guests, name+".raw")
		t.Cleanup(func() { os.Remove(path) })
		return path
	}
	plain := disk("disk-plain")
	makeFileSystem(t, plain, tree)
	run(t, "python3", "-c", makeDisk, disk("disk-gpt"), rootPartition+"="+plain)
	run(t, "python3", "-c", makeDisk, disk("disk-home"), homePartition+"="+plain)
	run(t, "sh", "-c", "head -c 1M /dev/urandom >$0", disk("disk-noise"))
	run(t, "truncate", "-s", "0", disk("disk-empty"))

	want := identity{"disk-host", id, map[string]string{"PRETTY_HOSTNAME": "A disk", "CHASSIS": "vm"},
		map[string]string{"ID": "disk", "NAME": "On a disk"}}
	for _, name := range []string{"disk-gpt", "disk-plain"} {
		got, err := w.identify(t, name)
		must(t, err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for name, want := range map[string]string{
		"disk-home": "System.Error.ENXIO", "disk-noise": "System.Error.ENOPKG", "disk-empty": "System.Error.ENOPKG",
	} {
		if _, err := w.identify(t, name); machine1.ErrorName(err) != want {
			t.Errorf("%s: got the error %q, %v; want %q", name, machine1.ErrorName(err), err, want)
		}
	}
	if live.Host.Version >= 262 { // before, systemd-nspawn opens no disk image in a container
		w.wantBusyDisk(t, "disk-gpt")
	}
}

// wantBusyDisk has systemd-nspawn run from a disk image.
func (w *watcher) wantBusyDisk(t *testing.T, name string) {
	t.Helper()
	cmd := exec.Command("systemd-nspawn", "-q", "-M", name, "-i", filepath.Join(guests, name+".raw"), "sleep", "infinity")
	output := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = output, output
	must(t, cmd.Start())
	t.Cleanup(func() {
		observe(t, "machinectl", "terminate", name)
		cmd.Wait()
		if t.Failed() {
			t.Logf("systemd-nspawn said:\n%s", output)
		}
	})
	w.await(t, "MachineNew", name)
	_, err := w.identify(t, name)
	if got := machine1.ErrorName(err); got != "System.Error.EBUSY" {
		t.Errorf("while it runs: got the error %q", got)
	}
	for _, c := range []change{ofManager("RemoveImage", name), ofManager("RenameImage", name, "disk-b")} {
		if got := machine1.ErrorName(w.call(t, c.member, c.args)); got != "System.Error.EBUSY" {
			t.Errorf("while it runs: %s: got the error %q", c, got)
		}
	}
}
