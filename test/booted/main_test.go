// Package booted has the tests that need a booted systemd: they start real
// containers and talk to whichever daemon owns org.freedesktop.machine1.
// testhost runs them in a host of their own:
//
//	testhost test [--stock] [--forky] ./test/booted/...
//
// A test's name says where it is run: TestMachd… where machd is in its place,
// Test262… with that version of systemd, TestMachd262… with both, TestNew…
// where the daemon is a new one, machd or of systemd 258 and later, and every
// other test everywhere. What is expected everywhere is what
// systemd-machined does: a test that fails there is wrong.
//
// Tests that replace, stop or kill the daemon, PID 1's state or polkit have the
// host for themselves: they do not call t.Parallel.
package booted

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/machd/machd/test/live"
)

// A thread that becomes another user ends with its goroutine. The main thread
// cannot end, so the main goroutine keeps it.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) { live.Main(m, daemonIsInPlace) }

// daemonIsInPlace has the daemon that the host was made for own the name.
func daemonIsInPlace() error {
	owner, err := daemonNow()
	if err != nil {
		return err
	}
	if (owner == machd) != live.Host.Machd {
		return fmt.Errorf("%q owns org.freedesktop.machine1", owner)
	}
	return nil
}
