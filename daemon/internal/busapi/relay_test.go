package busapi

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
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
