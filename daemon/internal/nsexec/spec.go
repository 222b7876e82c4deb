package nsexec

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
)

// A spec is what a helper makes of itself. The daemon fills in what is of the
// command, the server what is of the leader.
type spec struct {
	Program   string // absolute path, inside
	Args, Env []string
	Directory string
	ElseRoot  bool // Directory need not be there
	UID, GID  uint32
	Groups    []uint32
	Terminal  bool // stdin is to be the controlling terminal

	Namespaces int    // to enter besides the PID namespace
	Bounding   uint64 // capabilities that may be had, a bit each
	NoNewPrivs bool
	Limits     []limit
}

// A limit is one of the leader's.
type limit struct {
	Resource int
	Value    unix.Rlimit
}

// lastResource is RLIMIT_RTTIME.
const lastResource = 15

// like has a command be no more than leader is.
func (s *spec) like(leader *proc.PIDFD) error {
	if err := s.readStatus(leader); err != nil {
		return err
	}
	s.Namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP
	same, err := leader.SameNamespace("user")
	if err != nil {
		return err
	}
	if !same { // one's own cannot be entered
		s.Namespaces |= unix.CLONE_NEWUSER
	}
	s.Limits = nil
	for resource := 0; resource <= lastResource; resource++ {
		l := limit{Resource: resource}
		if err := unix.Prlimit(leader.PID(), resource, nil, &l.Value); err != nil {
			return fmt.Errorf("cannot read the limits of process %d: %w", leader.PID(), err)
		}
		s.Limits = append(s.Limits, l)
	}
	if !leader.Alive() { // the number may have been another's
		return errGone
	}
	return nil
}

func (s *spec) readStatus(leader *proc.PIDFD) error {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", leader.PID()))
	if err != nil {
		return fmt.Errorf("cannot read the status of process %d: %w", leader.PID(), err)
	}
	found := 0
	for line := range bytes.Lines(data) {
		key, value, _ := strings.Cut(strings.TrimSpace(string(line)), ":")
		switch value = strings.TrimSpace(value); key {
		case "CapBnd":
			if s.Bounding, err = strconv.ParseUint(value, 16, 64); err == nil {
				found++
			}
		case "NoNewPrivs":
			s.NoNewPrivs = value != "0"
			found++
		}
	}
	if found != 2 {
		return fmt.Errorf("the status of process %d does not tell its capabilities", leader.PID())
	}
	return nil
}
