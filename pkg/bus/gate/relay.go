package gate

import (
	"net"
	"sync"
)

// relay moves what the bus and the client send until one of them is gone: then
// the other one is closed, and both goroutines end.
func relay(bus, client *net.UnixConn) {
	hangUp := sync.OnceFunc(func() {
		bus.Close()
		client.Close()
	})
	run := func(from *stream, move func(*stream, *net.UnixConn) error, to *net.UnixConn) {
		defer from.close()
		defer hangUp()
		move(from, to)
	}
	go run(newStream(bus), fromBus, client)
	go run(newStream(client), fromClient, bus)
}

// fromClient moves what the client sends: the lines of the authentication, and
// then each message by itself. A bus that reads a part of what was written at
// once gives descriptors to the message which that part ends in. dbus-broker
// reads 2 KiB, so descriptors that were written together with other messages
// before theirs would go to one of those, and the broker hangs up.
func fromClient(from *stream, to *net.UnixConn) error {
	for {
		text, err := line(from, to)
		if err != nil {
			return err
		}
		if text == "BEGIN\r\n" {
			break
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

// fromBus moves the messages of the bus, or drops them. Before the first one
// there are the lines of the authentication, none of which begins like one.
func fromBus(from *stream, to *net.UnixConn) error {
	for {
		first, err := from.peek(1)
		if err != nil {
			return err
		}
		if first[0] == 'l' || first[0] == 'B' {
			err = letThrough(from, to)
		} else {
			_, err = line(from, to)
		}
		if err != nil {
			return err
		}
	}
}

// letThrough moves one message of the bus, or drops it.
func letThrough(from *stream, to *net.UnixConn) error {
	f, err := nextFrame(from)
	if err != nil {
		return err
	}
	if f.header > maxHeader {
		return from.discard(f.header + f.body)
	}
	b, err := from.peek(f.header)
	if err != nil {
		return err
	}
	if h, err := parseHeader(f, b); err != nil || !h.passes() {
		return from.discard(f.header + f.body)
	}
	return forwardMessage(from, f, to)
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

// maxLine is more than a line of the authentication has, in bytes.
const maxLine = 16 << 10

// line moves one line and returns it.
func line(from *stream, to *net.UnixConn) (string, error) {
	for n := 1; n <= maxLine; n++ {
		b, err := from.peek(n)
		if err != nil {
			return "", err
		}
		if b[n-1] == '\n' {
			return string(b), from.forward(n, to)
		}
	}
	return "", errProtocol
}
