package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// read returns a file of /proc/PID. The error wraps unix.ESRCH if the process
// has ended, before the read or during it.
func (p *PIDFD) read(name string) ([]byte, error) {
	data, err := os.ReadFile(p.path(name))
	if verr := p.verify(); verr != nil {
		err = verr
	} else if errors.Is(err, fs.ErrNotExist) && !p.inProc() {
		err = unix.ESRCH
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read %s of process %d: %w", name, p.pid, err)
	}
	return data, nil
}

func (p *PIDFD) path(name string) string {
	return "/proc/" + strconv.Itoa(p.pid) + "/" + name
}

func (p *PIDFD) inProc() bool {
	_, err := os.Lstat(p.path(""))
	return err == nil
}

// UID returns the real UID of the process.
func (p *PIDFD) UID() (uint32, error) {
	var info pidfdInfo
	err := p.WithFD(func(fd int) (err error) {
		info, err = getInfo(fd)
		return err
	})
	if err == nil && info.mask&pidfdInfoCred != 0 {
		return info.ruid, nil
	}
	uid, err := p.statusNumber("Uid")
	return uint32(uid), err
}

// Parent returns the parent process, nil if there is none that we can see.
func (p *PIDFD) Parent() (*PIDFD, error) {
	ppid, err := p.statusNumber("PPid")
	if err != nil || ppid == 0 {
		return nil, err
	}
	parent, err := Open(int(ppid))
	if err != nil {
		return nil, err
	}
	// The parent may have died, and its number been reused, since we read it.
	if again, err := p.statusNumber("PPid"); err != nil || again != ppid {
		parent.Close()
		return nil, err
	}
	return parent, nil
}

// Comm returns the name of the process, at most 15 bytes that it chose itself.
func (p *PIDFD) Comm() (string, error) {
	data, err := p.read("comm")
	return strings.TrimSuffix(string(data), "\n"), err
}

// statusNumber returns the first number of a line of /proc/PID/status.
func (p *PIDFD) statusNumber(key string) (uint64, error) {
	data, err := p.read("status")
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(data) {
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || string(name) != key {
			continue
		}
		fields := bytes.Fields(value)
		if len(fields) == 0 {
			break
		}
		return strconv.ParseUint(string(fields[0]), 10, 32)
	}
	return 0, fmt.Errorf("cannot find %s in the status of process %d", key, p.pid)
}

// BootID returns the kernel's id of this boot, 32 hex digits.
func BootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("cannot read the boot id: %w", err)
	}
	return strings.ReplaceAll(strings.TrimSpace(string(data)), "-", ""), nil
}

// MachineID returns this host's machine id, 32 hex digits.
func MachineID() (string, error) {
	data, err := os.ReadFile("/etc/machine-id")
	if err != nil {
		return "", fmt.Errorf("cannot read the machine id: %w", err)
	}
	id := strings.TrimSpace(string(data))
	if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" {
		return "", fmt.Errorf("cannot use the machine id %q: it is not 32 hex digits", id)
	}
	return id, nil
}
