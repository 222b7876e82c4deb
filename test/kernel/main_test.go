// Package kernel has the tests that need a kernel of the host's own: cgroup
// controllers, LSMs and modules that a container gets from the machine below
// it, or does not, and a kernel without IPv6. testhost runs them in a host that is a virtual machine:
//
//	testhost test --kernel [--stock] [--forky] ./test/kernel
//
// Every instruction there is interpreted. What a container shows as well
// belongs into test/booted.
package kernel

import (
	"errors"
	"os/exec"
	"testing"

	"github.com/machd/machd/test/live"
)

func TestMain(m *testing.M) { live.Main(m, isVirtual) }

func isVirtual() error {
	if exec.Command("systemd-detect-virt", "--quiet", "--vm").Run() != nil {
		return errors.New("it has no kernel of its own: run testhost test --kernel")
	}
	return nil
}
