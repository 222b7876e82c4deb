package booted

import (
	"fmt"
	"os"
	"testing"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
)

// The root directory that is handed out is the machine's, for reading, and a
// way into all of it.
func TestOpenRootDirectory(t *testing.T) {
	t.Parallel()
	w := watch(t)
	open := func(name string) (*os.File, error) {
		var fd dbus.UnixFD
		if err := w.call(t, "OpenMachineRootDirectory", []any{name}, &fd); err != nil {
			return nil, err
		}
		return os.NewFile(uintptr(fd), name), nil
	}
	check := func(f *os.File, root string) {
		t.Helper()
		defer f.Close()
		var got, want unix.Stat_t
		must(t, unix.Fstat(int(f.Fd()), &got))
		must(t, unix.Stat(root, &want))
		if got.Dev != want.Dev || got.Ino != want.Ino {
			t.Errorf("%s is %d:%d, want %d:%d", root, got.Dev, got.Ino, want.Dev, want.Ino)
		}
		flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
		must(t, err)
		if flags&(unix.O_ACCMODE|unix.O_PATH|unix.O_DIRECTORY) != unix.O_DIRECTORY {
			t.Errorf("%s is open with %#o", root, flags)
		}
		below, err := unix.Openat(int(f.Fd()), "etc/os-release", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		must(t, err)
		unix.Close(below)
	}
	for what, options := range allIDs() {
		name := "root-of-" + kindName(what)
		startByHand(t, w, name, options...)
		f, err := open(name)
		must(t, err)
		check(f, rootDir(t, name))
		var fd dbus.UnixFD
		object := bus.Target{Name: machine1.BusName, Path: machine1.MachinePath(name)}
		must(t, bus.Call(t.Context(), w.conn, object, machine1.MachineInterface+".OpenRootDirectory", false, nil, &fd))
		check(os.NewFile(uintptr(fd), name), rootDir(t, name))
	}
	f, err := open(machine1.Host)
	must(t, err)
	check(f, "/")

	p := startProcess(t, "root-of-vm")
	must(t, w.call(t, "RegisterMachine", []any{"root-of-vm", []byte{}, "tester", "vm", uint32(p.pid), ""}))
	_, err = open("root-of-vm")
	wantError(t, err, machine1.ErrNotSupported)
	if want := "Opening the root directory is only supported on container machines."; fmt.Sprint(err) != want {
		t.Errorf("of a VM: %v", err)
	}
	_, err = open("root-of-nobody")
	wantError(t, err, machine1.ErrNoSuchMachine)
}
