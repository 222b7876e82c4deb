package booted

import "testing"

// Whoever asks while the daemon ends, and nobody has told PID 1 to end it, has the
// next one started. Not parallel: it ends the daemon.
func TestMachdIsAskedWhileItEnds(t *testing.T) {
	for range 20 {
		run(t, "systemctl", "kill", "--signal=TERM", theService)
		run(t, "machinectl", "list")
	}
}
