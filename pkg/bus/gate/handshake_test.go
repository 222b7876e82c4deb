package gate_test

import (
	"bufio"
	"context"
	"encoding/hex"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/machd/machd/pkg/bus/gate"
)

// listen has a bus say answer to whoever connects and has said all, and returns
// its address and what it is told.
func listen(t *testing.T, answer string) (address string, told <-chan string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bus")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	lines := make(chan string, 10)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		for in := bufio.NewReader(conn); ; {
			text, err := in.ReadString('\n')
			if err != nil {
				return
			}
			lines <- text
			if text == "BEGIN\r\n" {
				io.WriteString(conn, answer)
			}
		}
	}()
	return "unix:path=" + path, lines
}

func TestAllIsSaidAtOnce(t *testing.T) {
	t.Parallel()
	for name, agreed := range map[string]bool{"AGREE_UNIX_FD": true, "ERROR no": false} {
		address, told := listen(t, "OK 0123\r\n"+name+"\r\n")
		conn, err := gate.Dial(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.Auth(nil); err != nil || conn.SupportsUnixFDs() != agreed {
			t.Errorf("%s: %v, descriptors %t", name, err, conn.SupportsUnixFDs())
		}
		user := hex.EncodeToString([]byte(strconv.Itoa(os.Geteuid())))
		for _, want := range []string{"\x00AUTH EXTERNAL " + user + "\r\n", "NEGOTIATE_UNIX_FD\r\n", "BEGIN\r\n"} {
			if got := <-told; got != want {
				t.Errorf("it was told %q, want %q", got, want)
			}
		}
	}
}

func TestABusThatDoesNotLetUsIn(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{
		"REJECTED EXTERNAL\r\n":     `it says "REJECTED EXTERNAL"`,
		"HTTP/1.1 400 Bad\r\n":      "does not let user " + strconv.Itoa(os.Geteuid()) + " in",
		strings.Repeat("x", 20_000): "a line without an end",
		"":                          context.DeadlineExceeded.Error(),
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		address, _ := listen(t, answer)
		conn, err := gate.Dial(ctx, address)
		if err == nil {
			conn.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %q", answer, err, want)
		}
	}
}
