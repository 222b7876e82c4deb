package launch

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/godbus/dbus/v5"
)

// asked is a PID 1 that counts how often it is asked for a blank unit.
type asked struct{ times int }

func (a *asked) Properties(context.Context, string) (map[string]dbus.Variant, error) {
	a.times++
	return map[string]dbus.Variant{"Times": dbus.MakeVariant(a.times)}, nil
}

// Machines that are started together have one blank, until PID 1 reads its
// configuration again.
func TestBlankIsAskedForOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var a asked
		var b blank
		want := func(times int) {
			t.Helper()
			got, err := b.get(t.Context(), &a)
			if err != nil || got["Times"].Value() != times || a.times != times {
				t.Errorf("asked %d times, got that of time %v, %v; want %d", a.times, got["Times"], err, times)
			}
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
