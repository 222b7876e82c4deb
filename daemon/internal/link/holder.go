package link

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/machd/machd/daemon/internal/proc"
)

// searchTime is how long we look for a process that holds a socket: that it is
// taken is known already.
const searchTime = 500 * time.Millisecond

// A Holder is who has a socket. What cannot be found is zero.
type Holder struct {
	At   netip.AddrPort
	PID  int
	Comm string // its name
	Unit string // that it is in
}

// String says who it is to a person.
func (h Holder) String() string {
	switch {
	case h.PID == 0:
		return "a process that cannot be found"
	case h.Unit == "":
		return fmt.Sprintf("%s (PID %d)", h.Comm, h.PID)
	}
	return fmt.Sprintf("%s (PID %d, %s)", h.Comm, h.PID, h.Unit)
}

// holderOf returns the process that has the socket of an inode open. PID 1 holds
// those of services that it starts on demand; the service itself goes before it.
func holderOf(inode uint32) Holder {
	wanted := fmt.Sprintf("socket:[%d]", inode)
	if holds(os.Getpid(), wanted) {
		return Holder{PID: os.Getpid()}
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return Holder{}
	}
	deadline := time.Now().Add(searchTime)
	found := 0
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || !holds(pid, wanted) {
			continue
		}
		found = pid
		if pid != 1 || time.Now().After(deadline) {
			break
		}
	}
	return describe(found)
}

// holds reports whether a process has a descriptor of what is wanted.
func holds(pid int, wanted string) bool {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, entry := range entries {
		if target, err := os.Readlink(dir + "/" + entry.Name()); err == nil && target == wanted {
			return true
		}
	}
	return false
}

func describe(pid int) Holder {
	process, err := proc.Open(pid)
	if err != nil {
		return Holder{}
	}
	defer process.Close()
	h := Holder{PID: pid}
	h.Comm, _ = process.Comm()
	if cgroup, err := process.Cgroup(); err == nil {
		h.Unit, _, _ = proc.UnitOf(cgroup)
	}
	return h
}
