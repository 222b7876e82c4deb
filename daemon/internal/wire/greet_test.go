package wire

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestGreetingFailsWithAReason(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"refused":              "REJECTED EXTERNAL\r\n",
		"without descriptors":  "OK 0123\r\nERROR\r\n",
		"a line without end":   strings.Repeat("x", 2*maxLine),
		"hung up":              "",
		"a reply that is none": "OK 0123\r\nAGREE_UNIX_FD\r\nxxxxxxxxxxxxxxxxxxxxx",
	} {
		address := filepath.Join(t.TempDir(), "bus")
		listener, err := net.Listen("unix", address)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Read(make([]byte, 1000))
			io.WriteString(conn, answer)
			conn.Close()
		}()
		if _, err := Dial(t.Context(), "unix:path="+address); err == nil {
			t.Errorf("%s: no error", name)
		}
		listener.Close()
	}
}

func TestGreetingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	address := filepath.Join(t.TempDir(), "bus")
	listener, err := net.Listen("unix", address)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, "unix:path="+address); err == nil {
		t.Error("no error")
	}
}
