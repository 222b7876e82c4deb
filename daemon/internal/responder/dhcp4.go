package responder

import (
	"bytes"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
	"golang.org/x/sys/unix"
)

const (
	dhcp4ServerPort = 67
	dhcp4ClientPort = 68
	// dhcp4Smallest is what some clients of old want an answer to have, bytes.
	dhcp4Smallest = 300
	// infinite is the lifetime of what never ends, in both versions of DHCP.
	infinite = time.Duration(1<<32-1) * time.Second
)

func serveDHCP4(p *packetSocket, cfg *Config) {
	p.handle4 = func(packet []byte, from net.HardwareAddr, _ time.Time) {
		answer, to, ok := cfg.handle4(packet, from)
		if !ok {
			return
		}
		if err := p.send(answer, to); err != nil {
			cfg.Log.Debug("Cannot send an answer", "link", cfg.Link, "to", to.String(), "error", err)
		}
	}
}

// handle4 returns the answer to a packet, from its IP header on, and to whom it
// goes.
func (cfg *Config) handle4(packet []byte, from net.HardwareAddr) (answer []byte, to net.HardwareAddr, ok bool) {
	d, ok := parse4(packet)
	if !ok || d.dstPort != dhcp4ServerPort {
		return nil, nil, false
	}
	q, err := dhcpv4.FromBytes(d.payload)
	if err != nil {
		return nil, nil, false
	}
	a := cfg.answer4(q, from)
	if a == nil {
		return nil, nil, false
	}
	cfg.Log.Debug("Answering DHCPv4", "link", cfg.Link, "to", from.String(), "message", q.MessageType(), "answer", a.MessageType())
	message := a.ToBytes()
	if short := dhcp4Smallest - len(message); short > 0 {
		message = append(message, make([]byte, short)...)
	}
	to, addr := from, netip.AddrFrom4([4]byte{255, 255, 255, 255})
	switch {
	case a.MessageType() == dhcpv4.MessageTypeNak:
		to = broadcastMAC
	case isSet(q.ClientIPAddr):
		addr, _ = netip.AddrFromSlice(q.ClientIPAddr.To4())
	case q.IsBroadcast():
		to = broadcastMAC
	}
	// Otherwise it is a broadcast in a frame for that client alone: all clients
	// take that, and nobody else on a bridge is troubled.
	return datagram{
		src: cfg.Gateway4.Addr(), dst: addr, protocol: unix.IPPROTO_UDP, hops: 64,
		srcPort: dhcp4ServerPort, dstPort: dhcp4ClientPort, payload: message,
	}.packet(), to, true
}

// answer4 returns nil if q gets no answer.
func (cfg *Config) answer4(q *dhcpv4.DHCPv4, from net.HardwareAddr) *dhcpv4.DHCPv4 {
	if q.OpCode != dhcpv4.OpcodeBootRequest || q.HWType != iana.HWTypeEthernet ||
		!bytes.Equal(q.ClientHWAddr, from) || isSet(q.GatewayIPAddr) {
		return nil
	}
	server := q.ServerIdentifier()
	if isSet(server) && !sameIP(server, cfg.Gateway4.Addr()) {
		return nil // it has chosen somebody else's offer
	}
	guest, ok := cfg.Guest(from)
	if !ok || !guest.Addr4.Is4() {
		return nil
	}
	switch q.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		if q.Options.Has(dhcpv4.OptionRapidCommit) {
			a := cfg.lease4(q, guest, dhcpv4.MessageTypeAck)
			a.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionRapidCommit, nil))
			return a
		}
		return cfg.lease4(q, guest, dhcpv4.MessageTypeOffer)
	case dhcpv4.MessageTypeRequest:
		wanted := q.RequestedIPAddress()
		if !isSet(wanted) {
			wanted = q.ClientIPAddr
		}
		if !isSet(wanted) {
			return nil
		}
		if !sameIP(wanted, guest.Addr4) {
			return cfg.refuse4(q)
		}
		return cfg.lease4(q, guest, dhcpv4.MessageTypeAck)
	case dhcpv4.MessageTypeInform:
		if !isSet(q.ClientIPAddr) {
			return nil
		}
		return cfg.inform4(q, guest)
	case dhcpv4.MessageTypeDecline:
		cfg.Log.Debug("A guest says that its address is in use", "link", cfg.Link, "mac", from.String(), "address", guest.Addr4)
	}
	return nil
}

func (cfg *Config) lease4(q *dhcpv4.DHCPv4, guest Guest, kind dhcpv4.MessageType) *dhcpv4.DHCPv4 {
	a := cfg.inform4(q, guest)
	a.YourIPAddr = guest.Addr4.AsSlice()
	a.UpdateOption(dhcpv4.OptMessageType(kind))
	a.UpdateOption(dhcpv4.OptIPAddressLeaseTime(infinite))
	return a
}

// inform4 returns an answer without an address.
func (cfg *Config) inform4(q *dhcpv4.DHCPv4, guest Guest) *dhcpv4.DHCPv4 {
	gateway := net.IP(cfg.Gateway4.Addr().AsSlice())
	a := cfg.empty4(q, dhcpv4.MessageTypeAck)
	a.ClientIPAddr = q.ClientIPAddr
	a.ServerIPAddr = gateway
	a.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(cfg.Gateway4.Bits(), 32)))
	a.UpdateOption(dhcpv4.OptRouter(gateway))
	a.UpdateOption(dhcpv4.OptDNS(gateway))
	if cfg.MTU > 0 {
		a.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionInterfaceMTU, dhcpv4.Uint16(cfg.MTU).ToBytes()))
	}
	if guest.Hostname != "" {
		a.UpdateOption(dhcpv4.OptHostName(guest.Hostname))
	}
	return a
}

// refuse4 makes a client begin again that wants another address.
func (cfg *Config) refuse4(q *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	a := cfg.empty4(q, dhcpv4.MessageTypeNak)
	a.SetBroadcast()
	return a
}

func (cfg *Config) empty4(q *dhcpv4.DHCPv4, kind dhcpv4.MessageType) *dhcpv4.DHCPv4 {
	a := &dhcpv4.DHCPv4{
		OpCode: dhcpv4.OpcodeBootReply, HWType: q.HWType, TransactionID: q.TransactionID, Flags: q.Flags,
		ClientIPAddr: net.IPv4zero, YourIPAddr: net.IPv4zero, ServerIPAddr: net.IPv4zero, GatewayIPAddr: net.IPv4zero,
		ClientHWAddr: q.ClientHWAddr, Options: dhcpv4.Options{},
	}
	a.UpdateOption(dhcpv4.OptMessageType(kind))
	a.UpdateOption(dhcpv4.OptServerIdentifier(cfg.Gateway4.Addr().AsSlice()))
	if id := q.Options.Get(dhcpv4.OptionClientIdentifier); id != nil {
		a.UpdateOption(dhcpv4.OptClientIdentifier(id)) // RFC 6842
	}
	return a
}

func isSet(ip net.IP) bool { return len(ip) != 0 && !ip.IsUnspecified() }

func sameIP(ip net.IP, addr netip.Addr) bool {
	other, ok := netip.AddrFromSlice(ip)
	return ok && other.Unmap() == addr
}
