package link_test

import (
	"testing"

	"github.com/machd/machd/daemon/internal/link"
)

// The names are systemd-nspawn's.
func TestNamesOfLinksAreThoseOfNspawn(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ machine, host, port string }{
		{"twelve-chars", "ve-twelve-chars", "vb-twelve-chars"},
		{"thirteen-char", "ve-thirteenvixq", "vb-thirteenCu_B"},
		{"a-machine-name", "ve-a-machinzYiI", "vb-a-machinnPHB"},
		{"averylongmachinename01", "ve-averylontws0", "vb-averylonTWym"},
		{"debian-trixie-web-frontend", "ve-debian-tySDm", "vb-debian-tm7E7"},
	} {
		if got := link.HostName(test.machine); got != test.host {
			t.Errorf("%s: the host's side is %s, want %s", test.machine, got, test.host)
		}
		if got := link.PortName(test.machine); got != test.port {
			t.Errorf("%s: the port is %s, want %s", test.machine, got, test.port)
		}
	}
}
