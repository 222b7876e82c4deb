package progress

import (
	"encoding/json"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// ErrLeft is why an operation ended of which nobody reads how far it is.
var ErrLeft = errors.New("nobody waits for it any more")

// CheckPipe refuses what is no pipe: of anything else it could not be told
// whether it takes a line without waiting, or whether anybody reads it.
func CheckPipe(fd int) error {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return err
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFIFO || flags&unix.O_ACCMODE == unix.O_RDONLY {
		return machine1.Errorf(machine1.ErrInvalidArgs, "progress takes the end of a pipe that is written to")
	}
	return nil
}

// ToPipe is a listener that writes lines of JSON, as of machd.Progress. A line for
// which there is no room is left out.
func ToPipe(fd int) func(Report, bool) error {
	return func(r Report, changed bool) error {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		if _, err := unix.Poll(fds, 0); err != nil {
			return nil // by a signal; there is a next time
		}
		switch ready := fds[0].Revents; {
		case ready&(unix.POLLERR|unix.POLLNVAL) != 0:
			return ErrLeft
		case ready&unix.POLLOUT == 0 || !changed:
			return nil
		}
		line, err := json.Marshal(machd.Progress(r))
		if err != nil {
			return err
		}
		// A pipe that can be written to has room for a line as a whole.
		if _, err := unix.Write(fd, append(line, '\n')); errors.Is(err, unix.EPIPE) {
			return ErrLeft
		}
		return nil
	}
}
