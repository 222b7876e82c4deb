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

// UID returns the real UID of the process.
func (p *PIDFD) UID() (uint32, error) {
	info, err := p.info()
	if err != nil {
		return 0, fmt.Errorf("cannot tell the user of process %d: %w", p.PID(), err)
	}
	return info.uid, nil
}

// Parent returns the parent process, nil if there is none that we can see.
func (p *PIDFD) Parent() (*PIDFD, error) {
	now, err := p.info()
	for err == nil && now.parent != 0 {
		before := now
		parent, openErr := Open(before.parent)
		// If the number is still the parent's, it was all the time. Else the
		// parent has died, and the process has got another one.
		if now, err = p.info(); err == nil && now.parent == before.parent {
			return parent, openErr
		}
		parent.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot tell the parent of process %d: %w", p.PID(), err)
	}
	return nil, nil
}

// Comm returns the name of the process, at most 15 bytes that it chose itself.
func (p *PIDFD) Comm() (string, error) {
	data, err := p.read("comm")
	return strings.TrimSuffix(string(data), "\n"), err
}

// Child returns the process's first child, and nil if there is none.
func (p *PIDFD) Child() (*PIDFD, error) {
	data, err := p.read(fmt.Sprintf("task/%d/children", p.PID()))
	if err != nil {
		return nil, err
	}
	first, _, _ := strings.Cut(string(data), " ")
	pid, err := strconv.Atoi(first)
	if err != nil {
		return nil, nil
	}
	return Open(pid)
}

// info is what the kernel tells of a process in one answer.
type info struct {
	parent int    // 0 if there is none that we can see
	uid    uint32 // real
}

func (p *PIDFD) info() (info, error) {
	var answer unix.PidfdInfo
	err := p.WithFD(func(fd int) (err error) {
		answer, err = getInfo(fd)
		return err
	})
	if err == nil && answer.Mask&unix.PIDFD_INFO_CREDS != 0 {
		return info{int(answer.Ppid), answer.Ruid}, nil
	}
	data, err := p.read("status")
	if err != nil {
		return info{}, err
	}
	return parseStatus(data)
}

// parseStatus reads a /proc/PID/status file. The name of the process stands in
// it, but its line feeds are escaped.
func parseStatus(data []byte) (info, error) {
	parent, err := statusNumber(data, "PPid:")
	if err != nil {
		return info{}, err
	}
	uid, err := statusNumber(data, "Uid:")
	return info{int(parent), uid}, err
}

// statusNumber returns the first number of the line that begins with key.
func statusNumber(data []byte, key string) (uint32, error) {
	for line := range bytes.Lines(data) {
		value, ok := bytes.CutPrefix(line, []byte(key))
		if !ok {
			continue
		}
		fields := bytes.Fields(value)
		if len(fields) == 0 {
			break
		}
		n, err := strconv.ParseUint(string(fields[0]), 10, 32)
		return uint32(n), err
	}
	return 0, fmt.Errorf("cannot find %q in a status file", key)
}

// read returns a file of /proc/PID. The error wraps unix.ESRCH if the process
// has ended, before the read or during it.
func (p *PIDFD) read(name string) ([]byte, error) {
	data, err := os.ReadFile(p.path(name))
	if verr := p.verify(); verr != nil {
		err = verr
	} else if errors.Is(err, fs.ErrNotExist) && !p.inProc() {
		err = fs.ErrPermission // hidden from us
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read %s of process %d: %w", name, p.PID(), err)
	}
	return data, nil
}

// verify fails with ESRCH unless the process still runs, so that what was
// read from /proc/PID a moment ago was about it.
func (p *PIDFD) verify() error {
	if !p.Alive() {
		return unix.ESRCH
	}
	return nil
}

func (p *PIDFD) path(name string) string {
	return "/proc/" + strconv.Itoa(p.PID()) + "/" + name
}

func (p *PIDFD) inProc() bool {
	_, err := os.Lstat(p.path(""))
	return err == nil
}
