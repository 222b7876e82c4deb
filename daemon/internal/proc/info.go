package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// pidfdLink is what the links in /proc/PID/fd show for a pidfd, on every kernel.
const pidfdLink = "anon_inode:[pidfd]"

// pidOf tells the process of a pidfd that came from elsewhere. The descriptor
// is not touched before it is known to be a pidfd: any file system call could
// wait for ever for whoever serves the file.
func pidOf(fd int) (int, error) {
	link, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return 0, err
	}
	if link != pidfdLink {
		return 0, fmt.Errorf("it is no pidfd but %q: %w", link, unix.EBADF)
	}
	info, err := getInfo(fd)
	switch {
	case err != nil || info.Pid == 0:
		return pidFromFDInfo(fd)
	case info.Pid != info.Tgid:
		return 0, fmt.Errorf("it is for a thread: %w", unix.EINVAL)
	}
	return int(info.Pid), nil
}

// getInfo asks the kernel about the process of a pidfd. It fails before Linux
// 6.13, and for a process whose parent is outside our PID namespace: then /proc
// has to tell.
func getInfo(fd int) (unix.PidfdInfo, error) {
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_PID | unix.PIDFD_INFO_CREDS}
	err := unix.IoctlPidfdInfo(fd, &info)
	return info, err
}

func pidFromFDInfo(fd int) (int, error) {
	data, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
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
		pid, err := strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 32)
		if err != nil {
			return 0, fmt.Errorf("cannot parse a PID: %w", err)
		}
		// -1: it has been reaped; 0: it is outside our PID namespace.
		if pid <= 0 {
			return 0, unix.ESRCH
		}
		return int(pid), nil
	}
	return 0, fmt.Errorf("descriptor is no pidfd: %w", unix.EBADF)
}

// pidfsMagic is the type of the file system that pidfds live on since 6.9.
const pidfsMagic = 0x50494446

// pidfdID returns the inode number of fd, 0 where all pidfds share one.
func pidfdID(fd int) (uint64, error) {
	var fsys unix.Statfs_t
	if err := unix.Fstatfs(fd, &fsys); err != nil {
		return 0, err
	}
	if fsys.Type != pidfsMagic {
		return 0, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, err
	}
	return st.Ino, nil
}
