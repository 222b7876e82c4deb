package image

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/machd/machd/pkg/machine1"
)

// A disk that hangs for good needs a machine to break, so the reading is a
// stand-in here.
func TestADiskThatHangsKeepsNoCaller(t *testing.T) {
	t.Parallel()
	s := NewStore(Config{})
	s.limit = 20 * time.Millisecond
	answer := make(chan struct{})
	hang := func(context.Context) (int, error) { <-answer; return 1, nil }
	for range maxReads + 3 {
		if _, err := within(t.Context(), s, hang); !errors.Is(err, machine1.ErrTimeout) {
			t.Fatalf("got %v, want a time-out", err)
		}
	}
	if got := len(s.reads); got != maxReads {
		t.Errorf("%d reads hang, want %d", got, maxReads)
	}
	close(answer)
	s.limit = readLimit
	if got, err := within(t.Context(), s, hang); got != 1 || err != nil {
		t.Errorf("after the disk came back: got %d, %v; want 1", got, err)
	}
}
