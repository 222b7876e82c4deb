package nft_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

const (
	// soon is how long an answer may take that is to come.
	soon = 5 * time.Second
	// never is how long is waited for one that is not.
	never = 300 * time.Millisecond
)

// serve answers at the port with the name of the space and who asked, over TCP
// and UDP.
func (s space) serve(tb testing.TB, addresses ...string) {
	tb.Helper()
	for _, address := range addresses {
		network := "4"
		if netip.MustParseAddrPort(address).Addr().Is6() {
			network = "6"
		}
		s.do(tb, func() {
			streams, err := net.Listen("tcp"+network, address)
			if err != nil {
				tb.Error(err)
				return
			}
			tb.Cleanup(func() { streams.Close() })
			packets, err := net.ListenPacket("udp"+network, address)
			if err != nil {
				tb.Error(err)
				return
			}
			tb.Cleanup(func() { packets.Close() })
			go s.answerStreams(streams)
			go s.answerPackets(packets)
		})
	}
}

func (s space) greeting(peer net.Addr) string {
	return s.name + " " + netip.MustParseAddrPort(peer.String()).Addr().WithZone("").String()
}

func (s space) answerStreams(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		io.WriteString(c, s.greeting(c.RemoteAddr()))
		c.Close()
	}
}

func (s space) answerPackets(c net.PacketConn) {
	buffer := make([]byte, 64)
	for {
		_, peer, err := c.ReadFrom(buffer)
		if err != nil {
			return
		}
		c.WriteTo([]byte(s.greeting(peer)), peer)
	}
}

// ask returns what answers there.
func (s space) ask(tb testing.TB, network, address string, patience time.Duration) (answer string, err error) {
	tb.Helper()
	return s.askFrom(tb, network, "", address, patience)
}

func (s space) askFrom(tb testing.TB, network, from, address string, patience time.Duration) (answer string, err error) {
	tb.Helper()
	s.do(tb, func() {
		var c net.Conn
		dialer := net.Dialer{Timeout: patience, LocalAddr: local(network, from)}
		if c, err = dialer.Dial(network, address); err != nil {
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		if network == "udp" {
			io.WriteString(c, "?")
		}
		buffer := make([]byte, 64)
		var n int
		n, err = c.Read(buffer)
		answer = string(buffer[:n])
	})
	return answer, err
}

func local(network, from string) net.Addr {
	switch {
	case from == "":
		return nil
	case network == "tcp":
		return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from))
	}
	return net.UDPAddrFromAddrPort(netip.MustParseAddrPort(from))
}

// A question is who asks where, and what is to come of it.
type question struct {
	from    space
	address string
	want    string // "" is that nothing answers
}

// ask asks all of it over TCP and UDP.
func (w *world) ask(t *testing.T, questions ...question) {
	t.Helper()
	for _, q := range questions {
		for _, network := range []string{"tcp", "udp"} {
			t.Run(fmt.Sprintf("%s asks %s by %s", q.from.name, q.address, network), func(t *testing.T) {
				t.Helper()
				if q.want == "" {
					if answer, err := q.from.ask(t, network, q.address, never); err == nil {
						t.Errorf("%q answers", answer)
					}
					return
				}
				answer, err := q.from.ask(t, network, q.address, soon)
				if err != nil || answer != q.want {
					t.Errorf("got %q, %v; want %q", answer, err, q.want)
				}
			})
		}
	}
}
