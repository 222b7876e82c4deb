package socket

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// What is written to one end comes to the other one, with descriptors, which the
// programs that either side runs do not get.
func TestDescriptorsGoOverAPair(t *testing.T) {
	t.Parallel()
	for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_SEQPACKET} {
		ours, theirs, err := Pair(kind)
		if err != nil {
			t.Fatal(err)
		}
		defer ours.Close()
		far, err := Conn(theirs)
		theirs.Close()
		if err != nil {
			t.Fatal(err)
		}
		defer far.Close()
		sent := temporary(t, "text")
		if _, _, err := ours.WriteMsgUnix([]byte("hello"), unix.UnixRights(int(sent.Fd()), int(sent.Fd())), nil); err != nil {
			t.Fatal(err)
		}
		data, control := make([]byte, 16), make([]byte, unix.CmsgSpace(2*4))
		n, nControl, _, _, err := far.ReadMsgUnix(data, control)
		if err != nil || string(data[:n]) != "hello" {
			t.Fatalf("there came %q: %v", data[:n], err)
		}
		files, err := Files(control[:nControl])
		if err != nil || len(files) != 2 {
			t.Fatalf("there came %d files: %v", len(files), err)
		}
		text, err := io.ReadAll(files[0])
		if err != nil || string(text) != "text" {
			t.Errorf("the file has %q: %v", text, err)
		}
		for _, f := range files {
			flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
			if err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("programs would get it: %#x, %v", flags, err)
			}
			f.Close()
		}
	}
}

func TestWhatIsNoUnixSocket(t *testing.T) {
	t.Parallel()
	if _, err := Conn(temporary(t, "")); err == nil {
		t.Error("a file is a socket")
	}
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	dialed, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer dialed.Close()
	f, err := dialed.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := Conn(f); !errors.Is(err, unix.ENOTSOCK) {
		t.Errorf("a socket of the network: %v", err)
	}
	if files, err := Files(nil); err != nil || len(files) > 0 {
		t.Errorf("of nothing come %d files: %v", len(files), err)
	}
}

func temporary(t *testing.T, content string) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
