package responder

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func TestDNSOverTCP(t *testing.T) {
	l := newLab(t)
	long := func(query []byte) []byte { return append(echo(query), make([]byte, 40000)...) }
	nobody := netip.MustParseAddrPort("127.0.0.1:1")
	l.upstream(nobody, l.startServer(long).at)
	l.configure()
	l.start()
	for _, to := range []*net.UDPAddr{dns4, dns6} {
		conn := l.dialTCP(to)
		ask := func(name string) []byte {
			t.Helper()
			l.must(conn.SetDeadline(time.Now().Add(10 * time.Second)))
			l.must(writeMessage(conn, packQuery(t, name, dnsmessage.TypeA, 0)))
			reply, err := readMessage(conn, longestMessage)
			l.must(err)
			return reply
		}
		if got := ask("www.example.org."); !bytes.Equal(got, long(packQuery(t, "www.example.org.", dnsmessage.TypeA, 0))) {
			t.Errorf("%d bytes came, want the server's answer", len(got))
		}
		if got := describe(t, ask("c1.")); got != "Success 10.213.0.2" {
			t.Errorf("%q, want the machine's address", got)
		}
		if got := describe(t, func() []byte {
			l.must(writeMessage(conn, packQuery(t, "example.org.", dnsmessage.TypeAXFR, 0)))
			reply, err := readMessage(conn, longestMessage)
			l.must(err)
			return reply
		}()); got != "Refused" {
			t.Errorf("a transfer of a zone: %q", got)
		}
	}
}

func (l *lab) dialTCP(to *net.UDPAddr) net.Conn {
	l.Helper()
	var conn net.Conn
	l.in(func() {
		var err error
		conn, err = net.DialTCP("tcp", nil, &net.TCPAddr{IP: to.IP, Port: to.Port})
		l.must(err)
	})
	l.Cleanup(func() { conn.Close() })
	return conn
}

func TestConnectionsOfOneClientAreBounded(t *testing.T) {
	l := newLab(t)
	l.configure()
	l.start()
	var open []net.Conn
	for range clientConnections + 1 {
		open = append(open, l.dialTCP(dns4))
	}
	last := open[clientConnections]
	l.must(last.SetDeadline(time.Now().Add(idle / 2)))
	if _, err := last.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("one connection too many is left open: %v", err)
	}
	first := open[0]
	l.must(first.SetDeadline(time.Now().Add(idle / 2)))
	l.must(writeMessage(first, packQuery(t, "c1.", dnsmessage.TypeA, 0)))
	_, err := readMessage(first, longestMessage)
	l.must(err)
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
