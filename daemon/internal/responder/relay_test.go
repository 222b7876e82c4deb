package responder

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// A server is one of the host's DNS servers.
type server struct {
	at netip.AddrPort

	mu   sync.Mutex
	got  [][]byte         // queries over UDP
	from []netip.AddrPort // and whom from
}

// startServer starts a server that answers over UDP what handle returns, and
// over TCP the same; a nil is no answer.
func (l *lab) startServer(handle func(query []byte) []byte) *server {
	l.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	l.must(err)
	s := &server{at: conn.LocalAddr().(*net.UDPAddr).AddrPort()}
	listener, err := net.Listen("tcp", s.at.String())
	l.must(err)
	var wg sync.WaitGroup
	wg.Go(func() { s.serveUDP(conn, handle) })
	wg.Go(func() { serveTCP(&wg, listener, handle) })
	l.Cleanup(func() {
		conn.Close()
		listener.Close()
		wg.Wait()
	})
	return s
}

func (s *server) serveUDP(conn *net.UDPConn, handle func([]byte) []byte) {
	buffer := make([]byte, bufferSize)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		query := bytes.Clone(buffer[:n])
		s.mu.Lock()
		s.got, s.from = append(s.got, query), append(s.from, from)
		s.mu.Unlock()
		if reply := handle(query); reply != nil {
			conn.WriteToUDPAddrPort(reply, from)
		}
	}
}

func serveTCP(wg *sync.WaitGroup, listener net.Listener, handle func([]byte) []byte) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		wg.Go(func() {
			defer conn.Close()
			for {
				query, err := readMessage(conn, longestMessage)
				if err != nil {
					return
				}
				if reply := handle(query); reply != nil {
					writeMessage(conn, reply)
				}
			}
		})
	}
}

func (s *server) queries() ([][]byte, []netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got, s.from
}

// echo answers a query with itself, so with its options too.
func echo(query []byte) []byte {
	reply := bytes.Clone(query)
	reply[2] |= 0x80
	return reply
}

func withCode(code dnsmessage.RCode) func([]byte) []byte {
	return func(query []byte) []byte {
		reply := echo(query)
		reply[3] |= byte(code)
		return reply
	}
}

func silence([]byte) []byte { return nil }

func (l *lab) upstream(servers ...netip.AddrPort) {
	l.cfg.Upstream = func() []netip.AddrPort { return servers }
}

var (
	dns4 = &net.UDPAddr{IP: gateway4.Addr().AsSlice(), Port: dnsPort}
	dns6 = &net.UDPAddr{IP: gateway6.Addr().AsSlice(), Port: dnsPort}
)

// resolve sends query until there is an answer to it, which it returns.
func (l *lab) resolve(conn *net.UDPConn, query []byte, at *net.UDPAddr) []byte {
	l.Helper()
	id := binary.BigEndian.Uint16(query)
	return l.exchangeFor(conn, query, at, func(reply []byte) bool { return answers(reply, query, id) })
}

func TestQueriesGoToTheHostsServer(t *testing.T) {
	l := newLab(t)
	s := l.startServer(echo)
	l.upstream(s.at)
	l.configure()
	l.start()
	query := packQuery(t, "www.example.org.", dnsmessage.TypeA, 1232)
	for _, test := range []struct {
		network, at string
		to          *net.UDPAddr
	}{
		{"udp4", "10.213.0.2:0", dns4}, {"udp6", "[fd30:1::2]:0", dns6},
	} {
		conn := l.guestUDP(test.network, test.at)
		for range 20 {
			reply := l.resolve(conn, query, test.to)
			if !bytes.Equal(reply, echo(query)) {
				t.Fatalf("over %s: the answer is %x, want %x", test.network, reply, echo(query))
			}
		}
		if got := describe(t, l.resolve(conn, packQuery(t, "c1.", dnsmessage.TypeA, 0), test.to)); got != "Success 10.213.0.2" {
			t.Errorf("over %s: %q, want the machine's address", test.network, got)
		}
	}
	got, from := s.queries()
	ids, ports := map[string]bool{}, map[uint16]bool{}
	for i, q := range got {
		if !bytes.Equal(q[2:], query[2:]) {
			t.Fatalf("the server is asked %x, want %x but for the id", q, query)
		}
		ids[string(q[:2])] = true
		ports[from[i].Port()] = true
	}
	// 40 of 65,536 and of 28,232: more than five pairs are less likely than a
	// broken machine.
	if len(got) < 40 || len(ids) < 35 || len(ports) < 35 {
		t.Errorf("%d queries had %d ids and came from %d ports", len(got), len(ids), len(ports))
	}
}

func TestServersThatDoNotAnswer(t *testing.T) {
	nobody, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	refused := nobody.LocalAddr().(*net.UDPAddr).AddrPort()
	nobody.Close()
	for _, test := range []struct {
		name    string
		servers func(*lab) []netip.AddrPort
		want    string
		least   time.Duration // until the answer
		most    time.Duration
	}{
		{"there are none", func(*lab) []netip.AddrPort { return nil }, "ServerFailure EDNS", 0, patience},
		{"the only one is down", func(*lab) []netip.AddrPort { return []netip.AddrPort{refused} }, "ServerFailure EDNS", 0, patience / 2},
		{"the first is down", func(l *lab) []netip.AddrPort {
			return []netip.AddrPort{refused, l.startServer(echo).at}
		}, "Success EDNS", 0, patience / 2},
		{"the first cannot", func(l *lab) []netip.AddrPort {
			return []netip.AddrPort{l.startServer(withCode(dnsmessage.RCodeServerFailure)).at, l.startServer(echo).at}
		}, "Success EDNS", 0, patience / 2},
		{"nobody can", func(l *lab) []netip.AddrPort {
			s := l.startServer(withCode(dnsmessage.RCodeRefused))
			return []netip.AddrPort{s.at, s.at}
		}, "Refused EDNS", 0, patience / 2},
		{"the name is not there", func(l *lab) []netip.AddrPort {
			return []netip.AddrPort{l.startServer(withCode(dnsmessage.RCodeNameError)).at, l.startServer(echo).at}
		}, "NameError EDNS", 0, patience / 2},
		{"the first is silent", func(l *lab) []netip.AddrPort {
			return []netip.AddrPort{l.startServer(silence).at, l.startServer(echo).at}
		}, "Success EDNS", patience, 2 * patience},
		{"the only one loses the first", func(l *lab) []netip.AddrPort {
			lost := false
			return []netip.AddrPort{l.startServer(func(query []byte) []byte {
				if !lost {
					lost = true
					return nil
				}
				return echo(query)
			}).at}
		}, "Success EDNS", patience, 2 * patience},
		{"the only one is this relay", func(*lab) []netip.AddrPort {
			return []netip.AddrPort{netip.AddrPortFrom(gateway4.Addr(), dnsPort), netip.AddrPortFrom(gateway6.Addr(), dnsPort)}
		}, "ServerFailure EDNS", 0, patience / 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t)
			l.upstream(test.servers(l)...)
			l.configure()
			l.start()
			conn := l.guestUDP("udp4", "10.213.0.2:0")
			query := packQuery(t, "www.example.org.", dnsmessage.TypeA, 1232)
			l.resolve(conn, packQuery(t, "c1.", dnsmessage.TypeA, 0), dns4) // the neighbours know each other
			began := time.Now()
			if got := describe(t, l.once(conn, query, dns4)); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
			if took := time.Since(began); took < test.least || took > test.most {
				t.Errorf("it took %v, want %v to %v", took, test.least, test.most)
			}
			if test.least == 0 {
				return
			}
			began = time.Now()
			l.once(conn, query, dns4)
			if took := time.Since(began); took >= patience {
				t.Errorf("the next one took %v, so the silent server was asked first again", took)
			}
		})
	}
}

// once sends message once, and returns the answer.
func (l *lab) once(conn *net.UDPConn, message []byte, at *net.UDPAddr) []byte {
	l.Helper()
	_, err := conn.WriteTo(message, at)
	l.must(err)
	l.must(conn.SetReadDeadline(time.Now().Add(10 * time.Second)))
	buffer := make([]byte, bufferSize)
	n, _, err := conn.ReadFrom(buffer)
	l.must(err)
	return buffer[:n]
}

// A forged answer has neither the id nor, in most cases, the question.
func TestForgedAnswersAreNotTaken(t *testing.T) {
	t.Parallel()
	query := packQuery(t, "www.example.org.", dnsmessage.TypeA, 1232)
	other := packQuery(t, "www.example.net.", dnsmessage.TypeA, 1232)
	longer := packQuery(t, "www.example.org.x.", dnsmessage.TypeA, 0)
	headerOnly := echo(query)[:dnsHeader]
	headerOnly[5] = 0
	for _, test := range []struct {
		name  string
		reply []byte
		id    uint16
		want  bool
	}{
		{"the answer", echo(query), 0x1234, true},
		{"the answer in other letters", bytes.ReplaceAll(echo(query), []byte("www"), []byte("WwW")), 0x1234, true},
		{"an answer without the question", headerOnly, 0x1234, true},
		{"another id", echo(query), 0x1235, false},
		{"another question", echo(other), 0x1234, false},
		{"a longer question", echo(longer), 0x1234, false},
		{"half the question", echo(query)[:dnsHeader+5], 0x1234, false},
		{"the query", query, 0x1234, false},
		{"nothing", nil, 0x1234, false},
	} {
		if got := answers(test.reply, query, test.id); got != test.want {
			t.Errorf("%s is taken: %v, want %v", test.name, got, test.want)
		}
	}
}

func TestAnswersGoToTheLinkOnly(t *testing.T) {
	l := newLab(t)
	l.configure()
	host0, err := l.inner.LinkByName("host0")
	l.must(err)
	foreign := netip.MustParsePrefix("192.0.2.7/24")
	l.must(addAddress(l, host0, foreign))
	l.start()
	query := packQuery(t, "c1.", dnsmessage.TypeA, 0)
	l.silent(l.guestUDP("udp4", "192.0.2.7:0"), query, dns4)
	l.resolve(l.guestUDP("udp4", "10.213.0.2:0"), query, dns4)
}

// A flood of queries that no server answers keeps neither others' out for ever
// nor more than it may have.
func TestFloodOfQueriesIsBounded(t *testing.T) {
	l := newLab(t)
	s := l.startServer(silence)
	l.upstream(s.at)
	l.configure()
	before := descriptors(t)
	l.start()
	conn := l.guestUDP("udp4", "10.213.0.2:0")
	name := packQuery(t, "c1.", dnsmessage.TypeA, 0)
	l.resolve(conn, name, dns4)
	other := l.guestUDP("udp6", "[fd30:1::2]:0")
	l.resolve(other, name, dns6)
	query := packQuery(t, "www.example.org.", dnsmessage.TypeA, 0)
	for range 3 * clientInFlight {
		_, err := conn.WriteTo(query, dns4)
		l.must(err)
	}
	if got := describe(t, l.resolve(l.guestUDP("udp4", "10.213.0.2:0"), name, dns4)); got != "Success 10.213.0.2" {
		t.Errorf("during the flood: %q, want the machine's address", got)
	}
	asked := len(must(s.queries()))
	_, err := other.WriteTo(query, dns6)
	l.must(err)
	for deadline := time.Now().Add(patience / 2); len(must(s.queries())) == asked; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("another client's query is not passed on during the flood")
		}
	}
	if open := descriptors(t) - before; open > clientInFlight+20 || open < clientInFlight {
		t.Errorf("%d descriptors are open in the flood, want one for each of %d queries", open, clientInFlight)
	}
	// All of them fail in the end, and give back what they took.
	failed := 0
	buffer := make([]byte, bufferSize)
	l.must(conn.SetReadDeadline(time.Now().Add(attempts*patience + 5*time.Second)))
	for failed < clientInFlight {
		n, err := conn.Read(buffer)
		if err != nil {
			t.Fatalf("%d failures were told, want %d: %v", failed, clientInFlight, err)
		}
		if describe(t, buffer[:n]) == "ServerFailure" {
			failed++
		}
	}
	if open := descriptors(t) - before; open > 20 {
		t.Errorf("%d descriptors are open after the flood", open)
	}
	if got, _ := s.queries(); len(got) > attempts*(clientInFlight+2) {
		t.Errorf("the server was asked %d times, want %d for each of %d queries", len(got), attempts, clientInFlight)
	}
}

func must[A, B any](a A, _ B) A { return a }

// BenchmarkRelay is what a name costs a guest that the host's server knows.
func BenchmarkRelay(b *testing.B) {
	l := newLab(b)
	s := l.startServer(echo)
	l.upstream(s.at)
	l.configure()
	l.start()
	query := packQuery(b, "www.example.org.", dnsmessage.TypeA, 1232)
	guest := l.guestUDP("udp4", "10.213.0.2:0")
	host, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	l.must(err)
	defer host.Close()
	for _, way := range []struct {
		name string
		conn *net.UDPConn
		to   *net.UDPAddr
	}{
		{"relayed", guest, dns4}, {"direct", host, net.UDPAddrFromAddrPort(s.at)},
	} {
		b.Run(way.name, func(b *testing.B) {
			for b.Loop() {
				l.resolve(way.conn, query, way.to)
			}
		})
	}
}
