package doctor

import (
	"errors"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestUndisturbed(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		err        error // of the first reads
		disturbed  int   // how many those are
		wantReads  int
		wantFailed bool
	}{
		"at once":         {wantReads: 1},
		"the third time":  {netlink.ErrDumpInterrupted, 2, 3, false},
		"never":           {netlink.ErrDumpInterrupted, 1000, maxDisturbed, false},
		"another failure": {broken, 1000, 1, true},
	} {
		reads := 0
		list, err := undisturbed(func() ([]int, error) {
			if reads++; reads <= c.disturbed {
				return []int{1}, c.err
			}
			return []int{1}, nil
		})
		if reads != c.wantReads || (err != nil) != c.wantFailed || len(list) != 1 {
			t.Errorf("%s: %d reads, %v, %v", name, reads, list, err)
		}
	}
}
