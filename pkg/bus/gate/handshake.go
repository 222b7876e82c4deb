package gate

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// maxLine is more than a line of the authentication has, in bytes.
const maxLine = 16 << 10

// authenticate tells the bus that we are this process's user, before ctx ends.
// All there is to say is said at once: godbus would wait for four answers. It
// returns the bus's identity, and whether descriptors may be passed, which is
// asked for if fds is set.
//
// Reference: D-Bus Specification, "Authentication Protocol".
func authenticate(ctx context.Context, bus *stream, fds bool) (guid string, passesFDs bool, err error) {
	stop := context.AfterFunc(ctx, func() { _ = bus.sock.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() && err != nil {
			err = ctx.Err()
		}
	}()
	if _, err = bus.sock.Write(greeting(fds)); err != nil {
		return "", false, err
	}
	if guid, err = admission(bus); err != nil {
		return "", false, err
	}
	if !fds {
		return guid, false, nil
	}
	agreed, err := bus.line()
	return guid, agreed == "AGREE_UNIX_FD", err
}

// begin ends the authentication.
const begin = "BEGIN\r\n"

// greeting says that we are this process's user, asks whether descriptors may be
// passed if fds is set, and says that messages follow.
func greeting(fds bool) []byte {
	said := "\x00AUTH EXTERNAL " + hex.EncodeToString([]byte(strconv.Itoa(os.Geteuid()))) + "\r\n"
	if fds {
		said += "NEGOTIATE_UNIX_FD\r\n"
	}
	return []byte(said + begin)
}

// admission takes the bus's answer to who we are, which has its identity.
func admission(bus *stream) (guid string, err error) {
	answer, err := bus.line()
	if err != nil {
		return "", err
	}
	guid, ok := strings.CutPrefix(answer, "OK ")
	if !ok {
		return "", fmt.Errorf("the bus does not let user %d in: it says %q", os.Geteuid(), answer)
	}
	return guid, nil
}

// welcome gives godbus the answers to all it will ask for until it begins.
func welcome(client *net.UnixConn, guid string, passesFDs bool) error {
	agreed := "ERROR"
	if passesFDs {
		agreed = "AGREE_UNIX_FD"
	}
	// The first is to the question of what the bus offers.
	_, err := client.Write([]byte("REJECTED EXTERNAL\r\nOK " + guid + "\r\n" + agreed + "\r\n"))
	return err
}

// line takes one line, and returns it without its end.
func (s *stream) line() (string, error) {
	for n := 1; n <= maxLine; n++ {
		b, err := s.peek(n)
		if err != nil {
			return "", err
		}
		if b[n-1] == '\n' {
			text := strings.TrimSuffix(string(b[:n-1]), "\r")
			s.advance(n)
			return text, nil
		}
	}
	return "", errors.New("the bus sent a line without an end")
}
