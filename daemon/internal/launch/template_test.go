package launch

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/godbus/dbus/v5"
)

// asked is a PID 1 that counts how often it is asked for a blank unit.
type asked struct{ times atomic.Int64 }

func (a *asked) Properties(context.Context, string) (map[string]dbus.Variant, error) {
	n := a.times.Add(1)
	time.Sleep(time.Second) // of the bubble: others ask meanwhile
	return map[string]dbus.Variant{"Times": dbus.MakeVariant(n)}, nil
}

// Machines that are started together have one blank, until PID 1 reads its
// configuration again.
func TestBlankIsAskedForOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var a asked
		var b blank
		want := func(times int64) {
			t.Helper()
			var together sync.WaitGroup
			for range 20 {
				together.Go(func() {
					got, err := b.get(t.Context(), &a)
					if n := a.times.Load(); err != nil || got["Times"].Value() != times || n != times {
						t.Errorf("asked %d times, got that of time %v, %v; want %d", n, got["Times"], err, times)
					}
				})
			}
			together.Wait()
		}
		want(1)
		want(1)
		b.forget()
		want(2)
		want(2)
		time.Sleep(blankLife + 1)
		want(3)
	})
}
