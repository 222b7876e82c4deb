// Package vm has the tests of virtual machines: libvirt, as Debian ships it,
// starts guests of qemu and registers them with whichever daemon owns
// org.freedesktop.machine1. testhost runs them in a host of their own, with
// libvirt in it:
//
//	testhost test --vm [--stock] ./test/vm
//
// A guest has no disk: it stays in its firmware, which is all that a daemon
// outside can tell of any guest. What the tests expect of both daemons is what
// systemd-machined does: a test that fails there is wrong.
package vm

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

func TestMain(m *testing.M) {
	if !inVMHost() {
		fmt.Println("these tests need a booted host with libvirt: run testhost test --vm ./test/vm")
		if os.Getenv("MACHD_TEST_STRICT") == "1" {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func inVMHost() bool {
	_, err := exec.LookPath("virsh")
	return err == nil && os.Getenv("MACHD_TEST_HOST") != ""
}

// clients are the commands that list machines on this host.
func clients() []string {
	if os.Getenv("MACHD_TEST_HOST") == "machd" {
		return []string{"machinectl", "machctl"}
	}
	return []string{"machinectl"}
}
