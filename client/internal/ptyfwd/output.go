package ptyfwd

import (
	"golang.org/x/sys/unix"
)

// forwardOutput shows what comes from the master until nobody is left to
// write there.
func (f *forwarder) forwardOutput() ending {
	buffer := make([]byte, chunk)
	for {
		n, err := unix.Read(f.master, buffer)
		switch {
		case n > 0:
			if !f.show(buffer[:n]) {
				return ending{Ending: OutputClosed}
			}
		case err == unix.EINTR:
		case err == unix.EAGAIN && f.draining.Load():
			return ending{Ending: HungUp}
		case err == unix.EAGAIN, f.ignoring.Load():
			if !f.wake.wait() {
				return ending{goOn: true}
			}
		default:
			// Linux says EIO when the last process has closed the other side,
			// after everything that it wrote.
			return ending{Ending: HungUp}
		}
	}
}

// show takes what one read returned. In packet mode that is a status byte,
// and output behind it if the status is 0.
func (f *forwarder) show(data []byte) (goOn bool) {
	if f.packets() {
		flushed := data[0]&unix.TIOCPKT_FLUSHREAD != 0
		data = data[1:]
		f.begun(len(data) > 0, flushed)
		f.eof.repeat(f.master, flushed)
	}
	if len(data) == 0 {
		return true
	}
	f.last.Store(int32(data[len(data)-1]))
	return f.write(data)
}

// write writes all of data and reports whether that was possible. It waits
// before it writes, so that a session can end whose output nobody takes.
func (f *forwarder) write(data []byte) bool {
	for len(data) > 0 {
		if f.wake.poll(f.out, unix.POLLOUT) == 0 {
			return false
		}
		n, err := unix.Write(f.out, data)
		if err != nil && err != unix.EINTR && err != unix.EAGAIN {
			return false
		}
		data = data[max(n, 0):]
	}
	return true
}
