package foreign

import (
	"os"
	"testing"

	"github.com/machd/machd/test/live"
)

// TestSystemdsOwnTestOfMachined has the machines' place for itself: the script
// mounts a folder of its own over /var/lib/machines.
func TestSystemdsOwnTestOfMachined(t *testing.T) {
	prepareSuite(t)
	runSuite(t, "TEST-13-NSPAWN.machined.sh").wantNone(t)
}

// The script of 262 asks for the daemon's answers by resolved too, and would
// leave itself out: it looks for a module whose name lacks the last letter.
func TestSystemdsOwnTestOfNSSMymachines(t *testing.T) {
	prepareSuite(t)
	if live.Host.Version >= 262 {
		const misspelt = "/usr/lib/libnss_mymachine.so.2"
		live.Must(t, os.WriteFile(misspelt, nil, 0o644))
		t.Cleanup(func() { os.Remove(misspelt) })
		startResolved(t)
	}
	runSuite(t, "TEST-13-NSPAWN.nss-mymachines.sh").wantNone(t)
}

// startResolved starts systemd-resolved until the test's end.
func startResolved(t *testing.T) {
	t.Helper()
	live.Run(t, "systemctl", "start", "systemd-resolved.service")
	t.Cleanup(func() { live.Run(t, "systemctl", "stop", "systemd-resolved.service") })
}

// prepareSuite makes what the image of systemd's own test run has.
func prepareSuite(t *testing.T) {
	t.Helper()
	if live.Observe(t, "id", "testuser").Code != 0 {
		live.Run(t, "useradd", "--create-home", "--shell=/bin/bash", "testuser")
	}
	makeTemplate(t)
}
