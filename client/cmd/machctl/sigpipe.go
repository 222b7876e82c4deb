package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// heedIgnoredPipes leaves SIGPIPE ignored where it was when we were started, as it is
// in every service. The runtime has installed its handler by now, and would end us by
// the signal; but who started us ignores it as well then.
func heedIgnoredPipes() {
	if ignoresPipes(os.Getppid()) {
		signal.Ignore(unix.SIGPIPE)
	}
}

// ignoresPipes reports whether a process ignores SIGPIPE; one that cannot be asked
// does not.
func ignoresPipes(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(text), "\nSigIgn:\t")
	mask, err := strconv.ParseUint(after[:min(16, len(after))], 16, 64)
	return err == nil && mask&(1<<(unix.SIGPIPE-1)) != 0
}

// unread reports whether a result could not be printed because its reader has gone,
// who has seen enough.
func (u *ui) unread() bool { return errors.Is(u.failed, unix.EPIPE) }
