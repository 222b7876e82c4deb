package gate

import (
	"net"
	"sync"
)

// relay moves what the bus and the client send until one of them is gone: then
// the other one is closed, and both goroutines end.
func relay(bus, client *stream) {
	hangUp := sync.OnceFunc(func() {
		bus.sock.Close()
		client.sock.Close()
	})
	run := func(from *stream, move func(*stream, *net.UnixConn) error, to *net.UnixConn) {
		defer from.close()
		defer hangUp()
		move(from, to)
	}
	go run(bus, fromBus, client.sock)
	go run(client, fromClient, bus.sock)
}

// fromClient moves the messages that the client sends behind the lines of its
// authentication, each by itself. A bus that reads a part of what was written at
// once gives descriptors to the message which that part ends in. dbus-broker
// reads 2 KiB, so descriptors that were written together with other messages
// before theirs would go to one of those, and the broker hangs up.
func fromClient(from *stream, to *net.UnixConn) error {
	for text := ""; text != "BEGIN"; {
		var err error
		if text, err = from.line(); err != nil {
			return err
		}
	}
	for {
		f, err := nextFrame(from)
		if err != nil {
			return err
		}
		if err := forwardMessage(from, f, to); err != nil {
			return err
		}
	}
}

// fromBus moves the messages of the bus, or drops them.
func fromBus(from *stream, to *net.UnixConn) error {
	for {
		if err := letThrough(from, to); err != nil {
			return err
		}
	}
}

// letThrough moves one message of the bus, or drops it.
func letThrough(from *stream, to *net.UnixConn) error {
	f, passes, err := nextOrNone(from)
	if err != nil || !passes {
		return err
	}
	b, err := from.peek(f.header + f.body)
	if err != nil {
		return err
	}
	if from.countFDs(f.header+f.body) != f.fds || !bearsBody(f, b[f.header:]) {
		return errProtocol // godbus panics over those that are missing, and keeps others
	}
	return from.forward(f.header+f.body, to)
}

// nextOrNone looks at the message of the bus that comes next, or drops it if no
// client can have asked for it. Somebody may wait for a reply that godbus does
// not bear, so that one ends the connection.
func nextOrNone(from *stream) (f frame, passes bool, err error) {
	if f, err = nextFrame(from); err != nil {
		return f, false, err
	}
	if f.header > maxHeader {
		return f, false, from.discard(f.header + f.body)
	}
	b, err := from.peek(f.header)
	if err != nil {
		return f, false, err
	}
	h, err := parseHeader(f, b)
	switch {
	case err != nil || !h.passes():
		return f, false, from.discard(f.header + f.body)
	case !h.bearable():
		return f, false, errProtocol
	}
	f.fds, f.signature = h.fds, h.signature
	return f, true, nil
}

// nextFrame looks at the message that comes next.
func nextFrame(from *stream) (frame, error) {
	b, err := from.peek(fixedHeader)
	if err != nil {
		return frame{}, err
	}
	return parseFrame(b)
}

func forwardMessage(from *stream, f frame, to *net.UnixConn) error {
	if _, err := from.peek(f.header + f.body); err != nil {
		return err
	}
	return from.forward(f.header+f.body, to)
}
