package doctor

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/machd/machd/daemon/internal/responder"
)

// responderOffers is set for the process that answers a machine, to the address
// that it offers. All of it has to be in the namespace, so it is no goroutine.
const responderOffers = "MACHD_TEST_RESPONDER"

// upstreamFails is set where the servers that are asked for a machine fail. One
// at 127.0.0.3:53 always answers.
const upstreamFails = "MACHD_TEST_UPSTREAM_FAILS"

func TestMain(m *testing.M) {
	offers, yes := os.LookupEnv(responderOffers)
	if !yes {
		os.Exit(m.Run())
	}
	if err := respond(offers); err != nil {
		fmt.Fprintln(os.Stderr, "cannot answer a machine:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// respond answers until the standard input ends.
func respond(offers string) error {
	upstream, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go answerAll(upstream)
	local, err := net.ListenPacket("udp", "127.0.0.3:53")
	if err != nil {
		return err
	}
	go answerAll(local)
	link, err := net.InterfaceByName("ve-c1")
	if err != nil {
		return err
	}
	r, err := responder.Start(responder.Config{
		Link: link.Name, Index: link.Index, MTU: link.MTU,
		Gateway4: netip.MustParsePrefix(gateway4 + "/30"), Gateway6: netip.MustParsePrefix(gateway6 + "/64"),
		Guest: func(net.HardwareAddr) (responder.Guest, bool) {
			return responder.Guest{Addr4: netip.MustParseAddr(offers), Addr6: netip.MustParseAddr(guest6), Hostname: "c1"}, true
		},
		Upstream: func() []netip.AddrPort { return []netip.AddrPort{upstream.LocalAddr().(*net.UDPAddr).AddrPort()} },
		Log:      slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	defer r.Close()
	fmt.Print(".") // ready
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// answerAll answers every question for a name with nothing.
func answerAll(conn net.PacketConn) {
	buffer := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		buffer[2] |= 0x80 // it is an answer
		if conn.LocalAddr().(*net.UDPAddr).Port != 53 && os.Getenv(upstreamFails) != "" {
			buffer[3] |= 2 // it failed
		}
		conn.WriteTo(buffer[:n], from)
	}
}
