// Package responder answers on the link of a machine, or on the bridge of a
// zone, what a router would: DHCPv4, router solicitations, DHCPv6 and DNS. The
// answers are fixed: each guest always gets the address that its caller says.
//
// A responder is one goroutine that waits for all its sockets; only DNS over
// TCP takes more, while it goes on. What a flood costs is bounded: sockets are
// read at a limited rate, and what comes faster the kernel throws away.
//
// It knows MAC addresses and names, no machines, and changes nothing on the
// link: addresses and routes are its caller's.
package responder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// A Guest is who answers are for.
type Guest struct {
	Addr4    netip.Addr // the zero Addr: it gets no answer over DHCPv4
	Addr6    netip.Addr // likewise over DHCPv6
	Hostname string     // told over DHCPv4; may be ""
}

// A Config says on which link a responder answers, and what. Its functions may
// be called by several goroutines at once and must not wait for anything; Start
// calls Holder itself.
type Config struct {
	Link     string       // its name
	Index    int          // and its index
	Gateway4 netip.Prefix // the host's address on the link, with the link's prefix; the zero Prefix: no IPv4
	Gateway6 netip.Prefix // likewise
	MTU      int          // of the link, bytes; 0 tells guests none

	// Guest returns who has the MAC address. Strangers get no answer.
	Guest func(mac net.HardwareAddr) (Guest, bool)
	// Lookup returns the addresses of names that it knows, which are lower case
	// and without the final dot. Others are asked of Upstream. It may be nil.
	Lookup func(name string) (addrs []netip.Addr, known bool)
	// Reverse returns the name of an address below the link's prefixes. If it is
	// nil, such addresses are asked of Upstream as any other.
	Reverse func(netip.Addr) (name string, known bool)
	// Upstream returns the DNS servers that are asked, the preferred one first.
	Upstream func() []netip.AddrPort
	// Holder describes who has a port of the host, for errors: "dnsmasq (PID
	// 14)". The network is "tcp" or "udp". It may be nil, and may return "".
	Holder func(network string, at netip.AddrPort) string

	Log *slog.Logger
}

// A Responder answers on one link until it is closed.
type Responder struct {
	loop     *loop
	tcp      *tcpRelay
	problems []error
	done     chan struct{}
	closing  sync.Once
}

// Start returns a responder whose sockets are open. It fails if it can answer
// nothing at all there. What else is lacking, Problems says.
//
// The link must exist, and may be down and without addresses.
func Start(cfg Config) (*Responder, error) {
	if cfg.Gateway4.IsValid() && !cfg.Gateway4.Addr().Is4() || cfg.Gateway6.IsValid() && !cfg.Gateway6.Addr().Is6() {
		return nil, fmt.Errorf("cannot answer on %s: %v and %v are not an IPv4 and an IPv6 gateway", cfg.Link, cfg.Gateway4, cfg.Gateway6)
	}
	l, err := newLoop()
	if err != nil {
		return nil, fmt.Errorf("cannot answer on %s: %w", cfg.Link, err)
	}
	r := &Responder{loop: l, tcp: newTCPRelay(&cfg), done: make(chan struct{})}
	if err := r.open(&cfg); err != nil {
		l.closeAll()
		r.tcp.close()
		return nil, fmt.Errorf("cannot answer on %s: %w", cfg.Link, err)
	}
	go func() {
		defer close(r.done)
		defer l.closeAll()
		if err := l.run(); err != nil {
			cfg.Log.Error("Cannot answer on a link any more", "link", cfg.Link, "error", err)
		}
	}()
	return r, nil
}

// open opens the sockets. A port that somebody else has is no error: on the
// same link there is DHCP to be answered, and whoever has it may answer as well.
func (r *Responder) open(cfg *Config) error {
	now := time.Now()
	ctx, cancel := context.WithCancel(context.Background())
	r.tcp.cancel = cancel
	packets, err := openPackets(r.loop, cfg.Index)
	if err != nil {
		return err
	}
	if cfg.Gateway4.IsValid() {
		serveDHCP4(packets, cfg)
		r.note(reservePort4(r.loop, cfg))
	}
	gateways := []netip.Prefix{cfg.Gateway4, cfg.Gateway6}
	if cfg.Gateway6.IsValid() {
		err := openIPv6(r.loop, packets, cfg, now)
		switch {
		case err == nil:
			r.note(reservePort6(r.loop, cfg))
		case cfg.Gateway4.IsValid():
			// A host, or a link, may be without IPv6.
			r.note(fmt.Errorf("cannot answer over IPv6 on %s: %w", cfg.Link, err))
			gateways = gateways[:1]
		default:
			return err
		}
	}
	relay := newRelay(r.loop, cfg)
	for _, gateway := range gateways {
		if gateway.IsValid() {
			r.note(relay.listen(gateway.Addr()))
			r.note(r.tcp.listen(ctx, r.loop, gateway.Addr()))
		}
	}
	return nil
}

func (r *Responder) note(err error) {
	if err != nil {
		r.problems = append(r.problems, err)
	}
}

// Problems returns what the responder cannot offer, such as a *PortError for
// each port that somebody else has.
func (r *Responder) Problems() []error { return r.problems }

// Close ends the responder and returns when nothing of it is left. Guests keep
// what they were told: another responder will tell them the same.
func (r *Responder) Close() {
	r.closing.Do(func() {
		r.loop.close()
		<-r.done
		r.tcp.close()
	})
}

// CloseAll closes responders as Close does, many at a time: one after the other
// takes the kernel ten milliseconds each.
func CloseAll(responders []*Responder) {
	const atOnce = 32 // threads, while the kernel takes its time
	var wg sync.WaitGroup
	turns := make(chan struct{}, atOnce)
	for _, r := range responders {
		turns <- struct{}{}
		wg.Go(func() {
			r.Close()
			<-turns
		})
	}
	wg.Wait()
}

// A PortError is a port of the host that a responder needs and cannot have.
type PortError struct {
	Service string // "DNS"
	Network string // "udp" or "tcp"
	Addr    netip.AddrPort
	Link    string
	Holder  string // who has it, "" if that is not known
	Err     error
}

func (e *PortError) Error() string {
	at := fmt.Sprintf("cannot answer %s at %v, %s port %d, on %s: ", e.Service, e.Addr.Addr(), e.Network, e.Addr.Port(), e.Link)
	if e.Holder != "" {
		return at + "it is held by " + e.Holder
	}
	return at + e.Err.Error()
}

// Unwrap returns the error of the system.
func (e *PortError) Unwrap() error { return e.Err }

var errNotThere = errors.New("the link is not there")
