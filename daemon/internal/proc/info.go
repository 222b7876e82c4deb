package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pidfdInfo is struct pidfd_info of linux/pidfd.h, as of Linux 6.13.
type pidfdInfo struct {
	mask       uint64
	cgroupID   uint64
	pid        uint32
	tgid       uint32
	ppid       uint32
	ruid, rgid uint32
	euid, egid uint32
	suid, sgid uint32
	fsuid      uint32
	fsgid      uint32
	exitCode   int32
}

const (
	pidfdGetInfo  = 0xC040FF0B // _IOWR(0xFF, 11, 64 bytes)
	pidfdInfoPID  = 1 << 0
	pidfdInfoCred = 1 << 1
)

// getInfo asks the kernel about the process of fd. Before Linux 6.13 the
// error is ENOTTY; for a process that has been reaped, ESRCH.
func getInfo(fd int) (pidfdInfo, error) {
	info := pidfdInfo{mask: pidfdInfoPID | pidfdInfoCred}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), pidfdGetInfo, uintptr(unsafe.Pointer(&info)))
	if errno != 0 {
		return info, errno
	}
	return info, nil
}

// pidOf tells the process of a pidfd that came from elsewhere.
func pidOf(fd int) (int, error) {
	info, err := getInfo(fd)
	if err == nil {
		return int(info.tgid), nil
	}
	if errors.Is(err, unix.ESRCH) {
		return 0, err
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
	if err != nil {
		return 0, err
	}
	return parseFDInfo(data)
}

// parseFDInfo takes the PID out of the fdinfo file of a pidfd.
func parseFDInfo(data []byte) (int, error) {
	for line := range bytes.Lines(data) {
		value, ok := bytes.CutPrefix(line, []byte("Pid:"))
		if !ok {
			continue
		}
		pid, err := strconv.Atoi(string(bytes.TrimSpace(value)))
		if err != nil {
			return 0, fmt.Errorf("cannot parse a PID: %w", err)
		}
		// -1: it has been reaped; 0: it is outside our PID namespace.
		if pid <= 0 {
			return 0, unix.ESRCH
		}
		return pid, nil
	}
	return 0, fmt.Errorf("descriptor is no pidfd: %w", unix.EBADF)
}
