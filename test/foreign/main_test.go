// Package foreign has the tests whose judges are programs that nobody here
// wrote: systemd's own tests of its daemon, and the clients that distributions
// ship. testhost runs them in a host of their own, see package live for what a
// test's name says:
//
//	testhost test [--stock] [--forky] ./test/foreign/...
//
// Each expects what it saw of systemd-machined, in the same kind of host.
package foreign

import (
	"testing"

	"github.com/machd/machd/test/live"
)

func TestMain(m *testing.M) { live.Main(m) }
