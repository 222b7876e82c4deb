// Package booted has the tests that need a booted systemd: they start real
// containers and talk to whichever daemon owns org.freedesktop.machine1.
// testhost runs them in a host of their own:
//
//	testhost test [--stock] [--forky] ./test/booted/...
//
// What they expect of both daemons is what systemd-machined does: a test that
// fails there is wrong.
package booted

import (
	"fmt"
	"os"
	"testing"
)

// The kinds of host, from MACHD_TEST_HOST.
const (
	stock = "stock" // systemd-machined is in its place
	machd = "machd" // machd is
)

func TestMain(m *testing.M) {
	if kind := os.Getenv("MACHD_TEST_HOST"); kind != stock && kind != machd {
		fmt.Println("these tests need a booted host: run testhost test ./test/booted/...")
		if os.Getenv("MACHD_TEST_STRICT") == "1" {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// onlyWithMachd is for what systemd-machined cannot do. The other run of the
// same test judges, so this one is no skip.
func onlyWithMachd(t *testing.T) bool {
	t.Helper()
	if os.Getenv("MACHD_TEST_HOST") == machd {
		return true
	}
	t.Log("tried with machd only")
	return false
}
