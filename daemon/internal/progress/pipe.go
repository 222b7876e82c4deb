package progress

import (
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// ErrLeft is why an operation ended of which nobody reads how far it is.
var ErrLeft = errors.New("nobody waits for it any more")

// A Pipe is the end of a pipe that is written to, as somebody else gave it. It is
// opened anew: whether a write blocks is what he says of the end that he has, too,
// and he may fill the pipe at any moment.
type Pipe struct{ fd int }

// OpenPipe opens the pipe that fd is of, which stays the caller's. It refuses what
// is no pipe: of anything else it could not be told whether anybody reads it. The
// error is ErrLeft if nobody does.
func OpenPipe(fd int) (Pipe, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return Pipe{}, err
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return Pipe{}, err
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFIFO || flags&unix.O_ACCMODE == unix.O_RDONLY {
		return Pipe{}, machine1.Errorf(machine1.ErrInvalidArgs, "progress takes the end of a pipe that is written to")
	}
	own, err := Reopen(fd)
	if errors.Is(err, unix.ENXIO) {
		return Pipe{}, ErrLeft
	}
	if err != nil {
		return Pipe{}, fmt.Errorf("cannot open the pipe for progress: %w", err)
	}
	return Pipe{own}, nil
}

// Reopen opens the pipe that fd is of anew, for writes that do not block. The error
// is ENXIO if the pipe has a name and nobody reads it.
func Reopen(fd int) (int, error) {
	return unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
}

// Close closes the pipe.
func (p Pipe) Close() error { return unix.Close(p.fd) }

// Tell is a listener that writes lines of JSON, as of machd.Progress. A line for
// which there is no room is left out.
func (p Pipe) Tell(r Report, changed bool) error {
	fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLOUT}}
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
	// A line is far shorter than PIPE_BUF, so it is written as a whole or, if the
	// room is gone by now, not at all.
	if _, err := unix.Write(p.fd, append(line, '\n')); errors.Is(err, unix.EPIPE) {
		return ErrLeft
	}
	return nil
}
