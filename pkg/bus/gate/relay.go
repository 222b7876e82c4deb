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
		for move(from, to) == nil {
		}
	}
	go run(newStream(bus), fromBus, client)
	go run(newStream(client), fromClient, bus)
}

// fromClient moves what the client has sent, as it is.
func fromClient(from *stream, to *net.UnixConn) error {
	b, err := from.all()
	if err != nil {
		return err
	}
	return from.forward(len(b), to)
}

// fromBus moves one message of the bus, or drops it. Before the first message
// there are the lines of the authentication, none of which begins like one.
func fromBus(from *stream, to *net.UnixConn) error {
	first, err := from.peek(1)
	if err != nil {
		return err
	}
	if first[0] != 'l' && first[0] != 'B' {
		return line(from, to)
	}
	b, err := from.peek(fixedHeader)
	if err != nil {
		return err
	}
	f, err := parseFrame(b)
	if err != nil {
		return err
	}
	size := f.header + f.body
	if f.header > maxHeader {
		return from.discard(size)
	}
	if b, err = from.peek(f.header); err != nil {
		return err
	}
	if h, err := parseHeader(f, b); err != nil || !h.passes() {
		return from.discard(size)
	}
	if _, err := from.peek(size); err != nil {
		return err
	}
	return from.forward(size, to)
}

// maxLine is more than a line of the authentication has, in bytes.
const maxLine = 16 << 10

func line(from *stream, to *net.UnixConn) error {
	for n := 1; n <= maxLine; n++ {
		b, err := from.peek(n)
		if err != nil {
			return err
		}
		if b[n-1] == '\n' {
			return from.forward(n, to)
		}
	}
	return errProtocol
}
