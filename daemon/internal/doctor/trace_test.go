package doctor

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTrace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.doctor.cfg.Host
	tr, err := newTracer(s)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.close()
	l, err := readLinks(s)
	if err != nil {
		t.Fatal(err)
	}
	eth0 := l.named("eth0").Attrs()
	f := flow{unix.IPPROTO_TCP, netip.AddrPortFrom(netip.MustParseAddr("192.168.7.254"), tr.source()), netip.MustParseAddrPort("192.168.7.1:8080")}
	j, err := tr.follow(t.Context(), f, func(packet []byte) error {
		return tr.injectors.inject(eth0.Index, frame(eth0.HardwareAddr, eth0.HardwareAddr, unix.ETH_P_IP, packet))
	})
	t.Logf("%+v %v", j, err)
	t.Log(w.host.sh("nft list ruleset"))
}
