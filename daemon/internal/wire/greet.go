package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
)

// Names of the bus itself.
const (
	BusName      = "org.freedesktop.DBus"
	BusPath      = "/org/freedesktop/DBus"
	BusInterface = "org.freedesktop.DBus"
)

// maxLine bounds a line of the authentication, in bytes.
const maxLine = 4 << 10

// greet authenticates with the credentials that the kernel attests, asks to
// pass descriptors and says Hello, all in one go: the answers are read after.
func (c *Conn) greet() error {
	uid := hex.EncodeToString([]byte(strconv.Itoa(os.Geteuid())))
	hello := c.hello()
	request := "\x00AUTH EXTERNAL " + uid + "\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n"
	if _, err := c.sock.send(hello.append([]byte(request), 0), nil, nil, true); err != nil {
		return err
	}
	if err := c.expectLine("OK", "authentication"); err != nil {
		return err
	}
	if err := c.expectLine("AGREE_UNIX_FD", "passing of descriptors"); err != nil {
		return err
	}
	return c.readHello(hello.Serial)
}

func (c *Conn) hello() *Header {
	return &Header{
		Type: TypeCall, Serial: c.NextSerial(),
		Destination: BusName, Path: BusPath, Interface: BusInterface, Member: "Hello",
	}
}

func (c *Conn) expectLine(word, what string) error {
	line, err := c.readLine()
	if err != nil {
		return fmt.Errorf("cannot read the answer to %s: %w", what, err)
	}
	if first, _, _ := bytes.Cut(line, []byte(" ")); string(first) != word {
		return fmt.Errorf("the bus refused %s: %q", what, line)
	}
	return nil
}

// readLine returns the next line without its end, valid until the next read.
func (c *Conn) readLine() ([]byte, error) {
	for n := 1; ; n = c.w - c.r + 1 {
		if n > maxLine {
			return nil, errors.New("the line is too long")
		}
		if err := c.fill(n); err != nil {
			return nil, err
		}
		if line, _, ok := bytes.Cut(c.buf[c.r:c.w], []byte("\r\n")); ok {
			c.advance(len(line) + 2)
			return line, nil
		}
	}
}

func (c *Conn) readHello(serial uint32) error {
	for {
		m, err := c.Read()
		if err != nil {
			return err
		}
		m.Close()
		if m.ReplySerial != serial {
			continue
		}
		var d Decoder
		d.Reset(m)
		switch {
		case m.Type == TypeError:
			return fmt.Errorf("the bus refused Hello: %s", m.ErrorName)
		case m.Signature != "s":
			return fmt.Errorf("%w: Hello was answered with %q", errMalformed, m.Signature)
		}
		c.name = d.Text()
		return d.Close()
	}
}
