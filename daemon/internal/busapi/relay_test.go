package busapi

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Lines go to whoever reads them, and when he goes, so does the context.
func TestRelay(t *testing.T) {
	t.Parallel()
	reader, writer, err := os.Pipe()
	must(t, err)
	defer writer.Close()
	ctx, line, stop := relay(t.Context(), writer)
	defer stop()
	line("one")
	line("two")
	text := make([]byte, 64)
	n, err := reader.Read(text)
	if err != nil || string(text[:n]) != "one\ntwo\n" {
		t.Errorf("there is %q: %v", text[:n], err)
	}
	// Somebody who does not read does not keep us for longer than the work lasts.
	go func() {
		for range 1000 {
			line(strings.Repeat("x", 400))
		}
	}()
	time.Sleep(2 * relayStep)
	if ctx.Err() != nil {
		t.Errorf("it is over while there is a reader: %v", context.Cause(ctx))
	}
	reader.Close()
	select {
	case <-ctx.Done():
	case <-time.After(patience):
		t.Fatal("nobody notices that the reader has gone")
	}
	if !errors.Is(context.Cause(ctx), errUnread) {
		t.Errorf("it is over because of %v", context.Cause(ctx))
	}
}

// A line may be longer than there is room for.
func TestRelayOfALongLine(t *testing.T) {
	t.Parallel()
	reader, writer, err := os.Pipe()
	must(t, err)
	defer reader.Close()
	defer writer.Close()
	_, line, stop := relay(t.Context(), writer)
	defer stop()
	text := strings.Repeat("0123456789", 20<<10)
	go line(text)
	got := make([]byte, len(text)+1)
	time.Sleep(2 * relayStep) // it is full by then
	_, err = io.ReadFull(reader, got)
	must(t, err)
	if string(got) != text+"\n" {
		t.Error("it has come as another one")
	}
}

// Whoever gave the descriptor may fill it after a look whether there is room.
func TestOutletDoesNotWaitForRoom(t *testing.T) {
	t.Parallel()
	var pipe [2]int
	must(t, unix.Pipe2(pipe[:], unix.O_CLOEXEC))
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	for what, fds := range map[string][2]int{"a pipe": pipe, "a socket": pair} {
		defer unix.Close(fds[0])
		defer unix.Close(fds[1])
		out, err := openOutlet(fds[1])
		must(t, err)
		full := make(chan error, 1)
		go func() {
			var err error
			for err == nil {
				_, err = out.write(make([]byte, 4096))
			}
			full <- err
		}()
		select {
		case err := <-full:
			if !errors.Is(err, unix.EAGAIN) {
				t.Errorf("%s is full: %v", what, err)
			}
		case <-time.After(patience):
			t.Fatalf("%s has it wait", what)
		}
		out.close()
	}
}
