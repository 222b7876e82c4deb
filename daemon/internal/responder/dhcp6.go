package responder

import (
	"bytes"
	"net"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

const (
	dhcp6ServerPort = 547
	dhcp6ClientPort = 546
)

// allDHCPServers is the group that clients ask.
var allDHCPServers = netip.MustParseAddr("ff02::1:2")

// handle6 returns the answer to a datagram for a DHCPv6 server. Whom it is from
// says the frame, since clients make up their DUIDs as they like.
func (cfg *Config) handle6(d datagram, from net.HardwareAddr) (answer []byte, ok bool) {
	if !d.src.IsLinkLocalUnicast() {
		return nil, false
	}
	q, err := dhcpv6.MessageFromBytes(d.payload) // refuses what comes from relays
	if err != nil {
		return nil, false
	}
	a := cfg.answer6(q, from)
	if a == nil {
		return nil, false
	}
	cfg.Log.Debug("Answering DHCPv6", "link", cfg.Link, "to", from.String(), "message", q.MessageType, "answer", a.MessageType)
	return a.ToBytes(), true
}

// serverID is our DUID: one that stays when the link's MAC address changes, as
// that of a bridge does.
func (cfg *Config) serverID() dhcpv6.DUID {
	return &dhcpv6.DUIDUUID{UUID: cfg.Gateway6.Addr().As16()}
}

// answer6 returns nil if q gets no answer. RFC 8415, section 16 says which
// message must have an id of whom.
func (cfg *Config) answer6(q *dhcpv6.Message, from net.HardwareAddr) *dhcpv6.Message {
	toUs, toAnother := cfg.addressee(q)
	if toAnother {
		return nil
	}
	hasClient := q.GetOneOption(dhcpv6.OptionClientID) != nil
	guest, ok := cfg.Guest(from)
	if !ok {
		return nil
	}
	switch q.MessageType {
	case dhcpv6.MessageTypeInformationRequest:
		if len(q.Options.IANA()) != 0 {
			return nil
		}
		return cfg.reply6(q, dhcpv6.MessageTypeReply)
	case dhcpv6.MessageTypeSolicit:
		if !hasClient || toUs {
			return nil
		}
		return cfg.offer6(q, guest)
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew:
		if !hasClient || !toUs {
			return nil
		}
		return cfg.lease6(q, guest, dhcpv6.MessageTypeReply)
	case dhcpv6.MessageTypeRebind:
		if !hasClient || toUs {
			return nil
		}
		return cfg.lease6(q, guest, dhcpv6.MessageTypeReply)
	case dhcpv6.MessageTypeConfirm:
		if !hasClient || toUs {
			return nil
		}
		return cfg.confirm6(q, guest)
	case dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline:
		if !hasClient || !toUs {
			return nil
		}
		a := cfg.empty6(q, dhcpv6.MessageTypeReply)
		a.AddOption(status6(iana.StatusSuccess, ""))
		return a
	}
	return nil
}

// addressee says whether q is for a certain server, and whether for another
// one.
func (cfg *Config) addressee(q *dhcpv6.Message) (toUs, toAnother bool) {
	id := q.GetOneOption(dhcpv6.OptionServerID)
	if id == nil {
		return false, false
	}
	ours := bytes.Equal(id.ToBytes(), cfg.serverID().ToBytes())
	return ours, !ours
}

func (cfg *Config) offer6(q *dhcpv6.Message, guest Guest) *dhcpv6.Message {
	if q.GetOneOption(dhcpv6.OptionRapidCommit) != nil {
		a := cfg.lease6(q, guest, dhcpv6.MessageTypeReply)
		a.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionRapidCommit})
		return a
	}
	a := cfg.lease6(q, guest, dhcpv6.MessageTypeAdvertise)
	a.AddOption(dhcpv6.OptPreference(255)) // do not wait for other servers
	return a
}

// lease6 gives the guest its address, in the first of the associations that the
// client has, and nothing in others.
func (cfg *Config) lease6(q *dhcpv6.Message, guest Guest, kind dhcpv6.MessageType) *dhcpv6.Message {
	a := cfg.reply6(q, kind)
	for i, asked := range q.Options.IANA() {
		ia := &dhcpv6.OptIANA{IaId: asked.IaId, T1: infinite, T2: infinite}
		if i == 0 && guest.Addr6.Is6() {
			ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: guest.Addr6.AsSlice(), PreferredLifetime: infinite, ValidLifetime: infinite})
		} else {
			ia.Options.Add(status6(iana.StatusNoAddrsAvail, "one address is all there is"))
		}
		if q.MessageType == dhcpv6.MessageTypeRenew || q.MessageType == dhcpv6.MessageTypeRebind {
			end(ia, asked, guest)
		}
		a.AddOption(ia)
	}
	for _, asked := range q.Options.IATA() {
		ia := &dhcpv6.OptIATA{IaId: asked.IaId}
		ia.Options.Add(status6(iana.StatusNoAddrsAvail, "there are no temporary addresses"))
		a.AddOption(ia)
	}
	for _, asked := range q.Options.IAPD() {
		pd := &dhcpv6.OptIAPD{IaId: asked.IaId}
		pd.Options.Options = dhcpv6.Options{status6(iana.StatusNoPrefixAvail, "there are no prefixes")}
		a.AddOption(pd)
	}
	return a
}

// end ends what addresses the client has besides the guest's.
func end(ia, asked *dhcpv6.OptIANA, guest Guest) {
	for _, had := range asked.Options.Addresses() {
		if !sameIP(had.IPv6Addr, guest.Addr6) {
			ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: had.IPv6Addr})
		}
	}
}

// confirm6 tells a client that comes back whether it still has the right
// address. It begins again if not.
func (cfg *Config) confirm6(q *dhcpv6.Message, guest Guest) *dhcpv6.Message {
	count, code, text := 0, iana.StatusSuccess, ""
	for _, ia := range q.Options.IANA() {
		for _, had := range ia.Options.Addresses() {
			count++
			if !sameIP(had.IPv6Addr, guest.Addr6) {
				code, text = iana.StatusNotOnLink, "the address is another one here"
			}
		}
	}
	if count == 0 {
		return nil
	}
	a := cfg.empty6(q, dhcpv6.MessageTypeReply)
	a.AddOption(status6(code, text))
	return a
}

// reply6 returns an answer with all that is not an address.
func (cfg *Config) reply6(q *dhcpv6.Message, kind dhcpv6.MessageType) *dhcpv6.Message {
	a := cfg.empty6(q, kind)
	a.AddOption(dhcpv6.OptDNS(cfg.Gateway6.Addr().AsSlice()))
	return a
}

func (cfg *Config) empty6(q *dhcpv6.Message, kind dhcpv6.MessageType) *dhcpv6.Message {
	a := &dhcpv6.Message{MessageType: kind, TransactionID: q.TransactionID}
	if id := q.GetOneOption(dhcpv6.OptionClientID); id != nil {
		a.AddOption(id)
	}
	a.AddOption(dhcpv6.OptServerID(cfg.serverID()))
	return a
}

func status6(code iana.StatusCode, text string) dhcpv6.Option {
	return &dhcpv6.OptStatusCode{StatusCode: code, StatusMessage: text}
}
