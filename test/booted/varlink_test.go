package booted

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

// The sockets of the daemon that anybody can connect to. The second is another
// name of the first.
const (
	imageSocket    = machine1.VarlinkSocket + "Image"
	accountsSocket = "/run/systemd/userdb/io.systemd.Machine"
	hookSocket     = "/run/systemd/resolve.hook/io.systemd.Machine"
)

// A varlinkConn is one connection to a Varlink socket.
type varlinkConn struct {
	*net.UnixConn
	arrived []byte // and not handed out
	files   []*os.File
}

// dialVarlink connects a user to the daemon's Varlink socket, until the test's end.
func dialVarlink(t *testing.T, user string) *varlinkConn {
	t.Helper()
	return dialVarlinkAt(t, user, machine1.VarlinkSocket)
}

func dialVarlinkAt(t *testing.T, user, path string) *varlinkConn {
	t.Helper()
	c := &varlinkConn{}
	var err error
	as(t, user, func() { c.UnixConn, err = net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"}) })
	must(t, err)
	t.Cleanup(func() {
		c.Close()
		for _, f := range c.files {
			f.Close()
		}
	})
	return c
}

// A varlinkReply is one answer. Its Error is empty if there is none; its
// Parameters are, too, if they are left out.
type varlinkReply struct {
	Error      string         `json:"error,omitempty"`
	Parameters map[string]any `json:"parameters,omitempty"`
	Continues  bool           `json:"continues,omitempty"`
}

// send sends a message, a whole JSON object.
func (c *varlinkConn) send(t *testing.T, message string) {
	t.Helper()
	must(t, c.SetDeadline(time.Now().Add(patience)))
	_, err := c.Write([]byte(message + "\x00"))
	must(t, err)
}

// next waits for one answer. Its error is io.EOF, or like it, if the daemon has
// hung up.
func (c *varlinkConn) next() (r varlinkReply, err error) {
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return r, err
	}
	for {
		if frame, rest, ok := bytes.Cut(c.arrived, []byte{0}); ok {
			c.arrived = rest
			return r, json.Unmarshal(frame, &r)
		}
		if err := c.read(); err != nil {
			return r, err
		}
	}
}

// read reads once, descriptors too.
func (c *varlinkConn) read() error {
	buf, oob := make([]byte, 64<<10), make([]byte, unix.CmsgSpace(4*16))
	n, oobn, _, _, err := c.ReadMsgUnix(buf, oob)
	if err != nil {
		return err
	}
	c.arrived = append(c.arrived, buf[:n]...)
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	for _, m := range messages {
		fds, rightsErr := unix.ParseUnixRights(&m)
		err = errors.Join(err, rightsErr)
		for _, fd := range fds {
			c.files = append(c.files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return err
}

// exchange sends a message and returns all its answers.
func (c *varlinkConn) exchange(t *testing.T, message string) ([]varlinkReply, error) {
	t.Helper()
	c.send(t, message)
	for all := []varlinkReply(nil); ; {
		r, err := c.next()
		if err != nil {
			return all, err
		}
		if all = append(all, r); !r.Continues {
			return all, nil
		}
	}
}

// varlinkMessage is a call with parameters, an object or nothing.
func varlinkMessage(method, parameters string) string {
	if parameters == "" {
		parameters = "{}"
	}
	return `{"method":"` + method + `","parameters":` + parameters + `}`
}

// withMore is a call that asks for a stream.
func withMore(message string) string {
	return strings.TrimSuffix(message, "}") + `,"more":true}`
}

// varlinkCall makes one call on a connection of its own and returns the
// parameters of the answer, or its error.
func varlinkCall(t *testing.T, user, method, parameters string) (map[string]any, error) {
	t.Helper()
	return varlinkCallAt(t, user, machine1.VarlinkSocket, method, parameters)
}

func varlinkCallAt(t *testing.T, user, path, method, parameters string) (map[string]any, error) {
	t.Helper()
	conn := dialVarlinkAt(t, user, path)
	defer conn.Close()
	conn.send(t, varlinkMessage(method, parameters))
	reply, err := conn.next()
	if err == nil && reply.Error != "" {
		err = errors.New(reply.Error)
	}
	return reply.Parameters, err
}
