package need

import (
	"context"
	"errors"
	"io"
	"testing"
)

func TestAMirrorIsAskedAgain(t *testing.T) {
	pause = 0
	interrupted, interrupt := context.WithCancel(t.Context())
	interrupt()
	for what, c := range map[string]struct {
		ctx        context.Context
		bad, calls int
	}{
		"a good one":         {t.Context(), 0, 1},
		"a bad moment":       {t.Context(), 2, 3},
		"a bad one":          {t.Context(), 9, 3},
		"of no use any more": {interrupted, 9, 1},
	} {
		calls := 0
		err := FromMirror(c.ctx, io.Discard, func() error {
			if calls++; calls <= c.bad {
				return errors.New("404 Not Found")
			}
			return nil
		})
		if calls != c.calls || (err != nil) != (c.bad >= c.calls) {
			t.Errorf("%s: asked %d times, want %d; the end is %v", what, calls, c.calls, err)
		}
	}
}
