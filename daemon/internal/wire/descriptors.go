package wire

import "golang.org/x/sys/unix"

// A batch is the descriptors that came with one recvmsg. The kernel ends a
// recvmsg behind the data that they were sent with, and a bus sends every
// message that has some by itself: so a batch belongs to one message.
type batch struct {
	fds  []int
	end  uint64 // where in the stream the recvmsg ended
	lost bool   // the kernel dropped some, for want of free numbers
}

// A fdQueue holds the batches that no message has claimed yet.
type fdQueue []batch

// receive adds what a recvmsg brought that ended at end.
func (q *fdQueue) receive(oob []byte, flags int, end uint64) {
	b := batch{end: end, lost: flags&unix.MSG_CTRUNC != 0}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		b.lost = true
	}
	for i := range messages {
		if fds, err := unix.ParseUnixRights(&messages[i]); err == nil {
			b.fds = append(b.fds, fds...)
		}
	}
	if len(b.fds) > 0 || b.lost {
		*q = append(*q, b)
	}
}

// claim returns the n descriptors of the message that ends at end, fewer and
// false if some were lost. What other messages behind end may claim stays;
// what none can claim any more is closed.
func (q *fdQueue) claim(n int, end uint64) (fds []int, ok bool) {
	ok = true
	for len(*q) > 0 && ok && len(fds) < n {
		b := &(*q)[0]
		take := min(n-len(fds), len(b.fds))
		fds, b.fds, ok = append(fds, b.fds[:take]...), b.fds[take:], !b.lost
		if len(b.fds) > 0 && ok {
			break
		}
		CloseAll(b.fds)
		*q = (*q)[1:]
	}
	for len(*q) > 0 && (*q)[0].end <= end {
		CloseAll((*q)[0].fds)
		*q = (*q)[1:]
	}
	if len(*q) == 0 {
		*q = nil
	}
	return fds, ok && len(fds) == n
}

// close closes what nobody claimed.
func (q *fdQueue) close() {
	for _, b := range *q {
		CloseAll(b.fds)
	}
	*q = nil
}

// CloseAll closes the descriptors that are not negative.
func CloseAll(fds []int) {
	for _, fd := range fds {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}
