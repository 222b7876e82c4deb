package ptyfwd

import (
	"testing"
	"time"
)

func TestEscape(t *testing.T) {
	t.Parallel()
	type read struct {
		after time.Duration
		chunk string
	}
	for name, c := range map[string]struct {
		reads []read
		want  bool
	}{
		"three at once":                      {[]read{{0, "\x1d\x1d\x1d"}}, true},
		"three among others":                 {[]read{{0, "ls\n\x1d\x1d\x1drm"}}, true},
		"one by one":                         {[]read{{0, "\x1d"}, {400 * time.Millisecond, "\x1d"}, {400 * time.Millisecond, "\x1d"}}, true},
		"the third a second after the first": {[]read{{0, "\x1d"}, {600 * time.Millisecond, "\x1d"}, {600 * time.Millisecond, "\x1d"}}, false},
		"two":                                {[]read{{0, "\x1d\x1d"}}, false},
		"another key between":                {[]read{{0, "\x1d\x1dx\x1d"}}, false},
		"a new run after a slow one":         {[]read{{0, "\x1d\x1d"}, {2 * time.Second, "\x1d\x1d\x1d"}}, true},
		"the slow key begins a new run":      {[]read{{0, "\x1d\x1d"}, {1100 * time.Millisecond, "\x1d"}, {500 * time.Millisecond, "\x1d\x1d"}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var e escape
			now := time.Unix(1e9, 0)
			got := false
			for _, r := range c.reads {
				now = now.Add(r.after)
				got = got || e.scan(now, []byte(r.chunk))
			}
			if got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}
