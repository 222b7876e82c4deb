package doctor

import (
	"net"
	"testing"

	"github.com/machd/machd/pkg/machd"
)

func TestInwardPorts(t *testing.T) {
	exposed := func(broken func(*testing.T, *world)) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			w.network.attachments[0].Inward = []machd.Port{{Protocol: machd.TCP, Host: 9000, Guest: 90}}
			w.network.mend = func() error {
				w.host.sh(`nft add rule inet machd pre iifname ve-c1 ip daddr 10.213.0.1 tcp dport 90 dnat ip to 127.0.0.1:9000`)
				return nil
			}
			w.network.mend()
			var l net.Listener
			if err := w.host.space().in(func() (err error) { l, err = net.Listen("tcp", "127.0.0.1:9000"); return err }); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			wantWell(t, w.look(t, "c1", "inward"))
			if broken == nil {
				l.Close()
				return
			}
			broken(t, w)
		}
	}
	try(t, "c1", []breakage{
		{"nobody listens", "inward", exposed(nil), []string{"nobody on the host listens on port 9000/tcp"}, false},
		{"not redirected", "inward", exposed(func(_ *testing.T, w *world) { w.host.sh("nft flush chain inet machd pre") }),
			[]string{"does not find port 9000/tcp of the host at 10.213.0.1:90", "it gets to 10.213.0.1:90"}, true},
		{"firewall", "inward", exposed(load(`table inet fw { chain in { type filter hook input priority 0; tcp dport 9000 drop; }; }`)),
			[]string{"does not find port 9000/tcp", "inet fw in: meta l4proto tcp dport 9000 drop", "iifname ve-c1 tcp dport 9000 accept"}, false},
	})
}
