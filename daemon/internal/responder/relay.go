package responder

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

const (
	// dnsRate and dnsBurst bound the queries over UDP of one link.
	dnsRate, dnsBurst = 2000, 1000
	// inFlight is how many queries of one link are with the host's servers at
	// once, and clientInFlight of one client. Each takes a descriptor.
	inFlight, clientInFlight = 256, 64
	// patience is how long one server is waited for, and attempts how often one
	// is asked. Most clients wait for five seconds.
	patience = 2 * time.Second
	attempts = 3
	// demoted is how long a server that was silent is asked after the others.
	demoted = 30 * time.Second
)

// A relay passes queries over UDP on to the host's servers, each with an id and
// from a port that cannot be guessed.
type relay struct {
	loop     *loop
	cfg      *Config
	inFlight map[*query]bool
	clients  map[netip.Addr]int           // and how many of those are theirs
	next     time.Time                    // some query is to be looked at
	silent   map[netip.AddrPort]time.Time // servers, and until when they are demoted
}

// A query is with a server.
type query struct {
	message  []byte // as the client sent it
	client   unix.Sockaddr
	addr     netip.Addr // of the client
	via      int        // the socket it came from
	servers  []netip.AddrPort
	attempt  int // how many were asked before
	id       uint16
	fd       int // to the server, negative if there is none
	deadline time.Time
}

func newRelay(l *loop, cfg *Config) *relay {
	r := &relay{
		loop: l, cfg: cfg,
		inFlight: map[*query]bool{}, clients: map[netip.Addr]int{}, silent: map[netip.AddrPort]time.Time{},
	}
	l.ticks = append(l.ticks, r.tick)
	return r
}

func (r *relay) listen(addr netip.Addr) error {
	at := netip.AddrPortFrom(addr, dnsPort)
	fd, err := r.cfg.bind(unix.SOCK_DGRAM, at, !reuse)
	if err != nil {
		return r.cfg.portError("DNS", "udp", at, err)
	}
	receive := func(buffer []byte, now time.Time) bool { return r.receive(fd, buffer, now) }
	return r.loop.add(&source{fd: fd, limit: newBucket(dnsRate, dnsBurst), receive: receive})
}

func (r *relay) receive(fd int, buffer []byte, now time.Time) bool {
	n, client, err := unix.Recvfrom(fd, buffer, 0)
	if err != nil {
		return false
	}
	from, ok := addrPort(client)
	if !ok || !r.cfg.onLink(from.Addr()) && !from.Addr().IsLinkLocalUnicast() {
		return true
	}
	reply, v := r.cfg.resolve(buffer[:n], 0)
	switch v {
	case answer:
		r.send(fd, reply, client)
	case forward:
		r.forward(&query{message: bytes.Clone(buffer[:n]), client: client, addr: from.Addr(), via: fd, fd: -1}, now)
	}
	return true
}

// send sends an answer, if there is room: who did not get one asks again.
func (r *relay) send(via int, reply []byte, to unix.Sockaddr) {
	if err := unix.Sendto(via, reply, 0, to); err != nil {
		r.cfg.Log.Debug("Cannot send an answer of DNS", "link", r.cfg.Link, "error", err)
	}
}

// forward asks a server. Where too much is going on already, the client will
// ask again.
func (r *relay) forward(q *query, now time.Time) {
	if len(r.inFlight) >= inFlight || r.clients[q.addr] >= clientInFlight {
		return
	}
	q.servers = r.servers(now)
	r.inFlight[q] = true
	r.clients[q.addr]++
	r.ask(q, now)
}

// servers returns whom to ask, those that were silent last.
func (r *relay) servers(now time.Time) []netip.AddrPort {
	servers := r.cfg.servers()
	for server, until := range r.silent {
		if until.Before(now) || !slices.Contains(servers, server) {
			delete(r.silent, server)
		}
	}
	slices.SortStableFunc(servers, func(a, b netip.AddrPort) int { return r.silent[a].Compare(r.silent[b]) })
	return servers
}

// servers returns the host's servers, but those that would ask us again.
func (cfg *Config) servers() []netip.AddrPort {
	if cfg.Upstream == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(cfg.Upstream()), func(s netip.AddrPort) bool {
		return s.Addr() == cfg.Gateway4.Addr() || s.Addr() == cfg.Gateway6.Addr()
	})
}

// ask asks the next server that can be asked, or tells the client that there is
// none.
func (r *relay) ask(q *query, now time.Time) {
	for ; len(q.servers) > 0 && q.attempt < attempts; q.attempt++ {
		err := r.dial(q, q.server())
		if err == nil {
			q.deadline = now.Add(patience)
			if r.next.IsZero() || q.deadline.Before(r.next) {
				r.next = q.deadline
			}
			return
		}
		r.cfg.Log.Debug("Cannot ask a DNS server", "link", r.cfg.Link, "server", q.server(), "error", err)
	}
	r.send(q.via, failure(q.message), q.client)
	r.finish(q)
}

func (q *query) server() netip.AddrPort { return q.servers[q.attempt%len(q.servers)] }

// dial sends q from a socket of its own, whose port the kernel chooses.
func (r *relay) dial(q *query, server netip.AddrPort) error {
	zone, err := zoneIndex(server.Addr().Zone())
	if err != nil {
		return err
	}
	family := unix.AF_INET
	if server.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	var id [2]byte
	rand.Read(id[:]) // never fails
	message := bytes.Clone(q.message)
	copy(message, id[:])
	if err = unix.Connect(fd, sockaddr(server, zone)); err == nil {
		_, err = unix.Write(fd, message)
	}
	if err != nil {
		unix.Close(fd)
		return err
	}
	receive := func(buffer []byte, now time.Time) bool { return r.answered(q, buffer, now) }
	if err := r.loop.add(&source{fd: fd, receive: receive}); err != nil {
		return err
	}
	q.fd, q.id = fd, binary.BigEndian.Uint16(id[:])
	return nil
}

func zoneIndex(zone string) (uint32, error) {
	if zone == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n), nil
	}
	link, err := net.InterfaceByName(zone)
	if err != nil {
		return 0, err
	}
	return uint32(link.Index), nil
}

// answered reads what a server says.
func (r *relay) answered(q *query, buffer []byte, now time.Time) bool {
	n, err := unix.Read(q.fd, buffer)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return false
	case err != nil: // the server's host says that it is not there
		r.another(q, now)
		return false
	}
	reply := buffer[:n]
	if !answers(reply, q.message, q.id) {
		return true
	}
	if refuses(reply) && q.attempt+1 < len(q.servers) {
		r.another(q, now)
		return false
	}
	copy(reply, q.message[:2])
	r.send(q.via, reply, q.client)
	r.finish(q)
	return false
}

// another asks the next server, each only once.
func (r *relay) another(q *query, now time.Time) {
	r.hangUp(q)
	q.attempt++
	if q.attempt >= len(q.servers) {
		q.servers = nil
	}
	r.ask(q, now)
}

// tick asks other servers about what was waited for long enough.
func (r *relay) tick(now time.Time) time.Time {
	if r.next.IsZero() || r.next.After(now) {
		return r.next
	}
	r.next = time.Time{}
	for q := range r.inFlight {
		if !q.deadline.After(now) {
			r.silent[q.server()] = now.Add(demoted)
			r.hangUp(q)
			q.attempt++
			r.ask(q, now)
		} else if r.next.IsZero() || q.deadline.Before(r.next) {
			r.next = q.deadline
		}
	}
	return r.next
}

func (r *relay) finish(q *query) {
	r.hangUp(q)
	delete(r.inFlight, q)
	if r.clients[q.addr]--; r.clients[q.addr] == 0 {
		delete(r.clients, q.addr)
	}
}

func (r *relay) hangUp(q *query) {
	if q.fd >= 0 {
		r.loop.remove(q.fd)
		q.fd = -1
	}
}

// answers says whether reply is about query, which was sent with the id. Some
// servers leave the question out when they refuse.
func answers(reply, query []byte, id uint16) bool {
	if len(reply) < dnsHeader || binary.BigEndian.Uint16(reply) != id || reply[2]&0x80 == 0 {
		return false
	}
	if binary.BigEndian.Uint16(reply[4:]) == 0 {
		return true
	}
	end := questionEnd(query)
	return end > 0 && len(reply) >= end && bytes.EqualFold(reply[dnsHeader:end], query[dnsHeader:end])
}

// refuses says whether another server may know better.
func refuses(reply []byte) bool {
	switch dnsmessage.RCode(reply[3] & 15) {
	case dnsmessage.RCodeServerFailure, dnsmessage.RCodeRefused, dnsmessage.RCodeNotImplemented:
		return true
	}
	return false
}
