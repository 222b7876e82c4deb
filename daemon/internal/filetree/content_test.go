package filetree_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/filetree"
)

// A FUSE server answers as it likes where the holes of a file are.
func TestHolesThatMakeNoSense(t *testing.T) {
	t.Parallel()
	const size = 100
	answers := func(data, hole int64, err error) func(int64, int) (int64, error) {
		return func(_ int64, whence int) (int64, error) {
			if whence == unix.SEEK_DATA {
				return data, err
			}
			return hole, err
		}
	}
	for name, test := range map[string]struct {
		data, hole int64
		err        error
		start, end int64
	}{
		"sense":         {20, 30, nil, 20, 30},
		"up to the end": {20, size, nil, 20, size},
		"beyond":        {20, size + 1, nil, 20, size},
		"no more data":  {0, 0, unix.ENXIO, size, size},
		"no answer":     {0, 0, unix.EINVAL, 10, size},
		"nowhere":       {0, 0, nil, 10, size},
		"backwards":     {5, 30, nil, 10, size},
		"a hole by now": {20, 20, nil, 20, 20},
		"empty":         {10, 10, nil, 10, size},
		"upside down":   {20, 15, nil, 10, size},
	} {
		if start, end := filetree.NextSpan(10, size, answers(test.data, test.hole, test.err)); start != test.start || end != test.end {
			t.Errorf("%s: from %d to %d, want from %d to %d", name, start, end, test.start, test.end)
		}
	}
}
