// Package foreign has the tests whose judges are programs that nobody here
// wrote: systemd's own tests of its daemon, and the clients that distributions
// ship. testhost runs them in a host of their own, see package live for what a
// test's name says:
//
//	testhost test [--stock] [--forky] ./test/foreign/...
//
// Each expects what it saw of systemd-machined, in the same kind of host. So
// machd leaves the networks of machines alone there, as one may have it do.
package foreign

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/machd/machd/test/live"
)

func TestMain(m *testing.M) { live.Main(m, leaveNetworks) }

// leaveNetworks has machd, where it is, see to no networks.
func leaveNetworks() error {
	if err := os.MkdirAll("/etc/machd", 0o755); err != nil {
		return err
	}
	if err := os.WriteFile("/etc/machd/network.conf", []byte("[Network]\nManage=no\n"), 0o644); err != nil {
		return err
	}
	if out, err := exec.Command("systemctl", "try-restart", "systemd-machined.service").CombinedOutput(); err != nil {
		return fmt.Errorf("cannot restart the daemon: %w\n%s", err, out)
	}
	return nil
}
