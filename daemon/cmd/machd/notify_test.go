package main

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What runs goes on until the service manager has noted that it will end.
func TestTheServiceManagerKnowsFirst(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	ctx, cancel := context.WithCancel(t.Context())
	running, end := untilKnown(ctx, slog.New(slog.NewTextHandler(t.Output(), nil)))
	defer end()
	cancel()

	hear := func() (text string, fds []int) {
		data, rights := make([]byte, 256), make([]byte, 64)
		n, m, _, _, err := manager.ReadMsgUnix(data, rights)
		if err != nil {
			t.Fatal(err)
		}
		messages, err := unix.ParseSocketControlMessage(rights[:m])
		if err != nil {
			t.Fatal(err)
		}
		for _, message := range messages {
			if fds, err = unix.ParseUnixRights(&message); err != nil {
				t.Fatal(err)
			}
		}
		return string(data[:n]), fds
	}
	if text, _ := hear(); !strings.HasPrefix(text, "STOPPING=1\n") {
		t.Errorf("it says %q", text)
	}
	text, fds := hear()
	if text != "BARRIER=1" || len(fds) != 1 {
		t.Fatalf("then it says %q, with the descriptors %v", text, fds)
	}
	select {
	case <-running.Done():
		t.Error("it ends before that is noted")
	case <-time.After(50 * time.Millisecond):
	}
	unix.Close(fds[0])
	select {
	case <-running.Done():
	case <-time.After(barrierLimit):
		t.Error("it does not end")
	}
}
