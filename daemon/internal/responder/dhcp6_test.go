package responder

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

func mac(text string) net.HardwareAddr {
	m, err := net.ParseMAC(text)
	if err != nil {
		panic(err)
	}
	return m
}

func interfaceByName(name string) *net.Interface {
	link, err := net.InterfaceByName(name)
	if err != nil {
		panic(err)
	}
	return link
}

func ask6(kind dhcpv6.MessageType, options ...dhcpv6.Option) *dhcpv6.Message {
	q := &dhcpv6.Message{MessageType: kind, TransactionID: dhcpv6.TransactionID{1, 2, 3}}
	q.AddOption(dhcpv6.OptClientID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: guestMAC}))
	for _, o := range options {
		q.AddOption(o)
	}
	return q
}

// association is what a client wants an address for; it may have some already.
func association(id byte, has ...string) *dhcpv6.OptIANA {
	ia := &dhcpv6.OptIANA{IaId: [4]byte{0, 0, 0, id}}
	for _, a := range has {
		ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: net.ParseIP(a), ValidLifetime: time.Hour})
	}
	return ia
}

var rapid = &dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionRapidCommit}

// An answer6 is what a client reads in an answer.
type answer6 struct {
	Kind   dhcpv6.MessageType
	Status string            // of all, "" if it is not said
	Has    map[string]string // address: valid lifetime, of all associations
	Errors []string          // of associations
	DNS    string
	Rapid  bool
}

func parseAnswer6(tb testing.TB, b []byte) answer6 {
	tb.Helper()
	m, err := dhcpv6.MessageFromBytes(b)
	if err != nil {
		tb.Fatalf("cannot read the answer: %v", err)
	}
	a := answer6{Kind: m.MessageType, Rapid: m.GetOneOption(dhcpv6.OptionRapidCommit) != nil}
	if s := m.Options.Status(); s != nil {
		a.Status = s.StatusCode.String()
	}
	for _, ia := range m.Options.IANA() {
		for _, addr := range ia.Options.Addresses() {
			if a.Has == nil {
				a.Has = map[string]string{}
			}
			a.Has[addr.IPv6Addr.String()] = addr.ValidLifetime.String()
		}
		if s := ia.Options.Status(); s != nil {
			a.Errors = append(a.Errors, s.StatusCode.String())
		}
	}
	for _, pd := range m.Options.IAPD() {
		if s := pd.Options.Status(); s != nil {
			a.Errors = append(a.Errors, s.StatusCode.String())
		}
	}
	if d := m.Options.DNS(); len(d) == 1 {
		a.DNS = d[0].String()
	}
	return a
}

func checkAnswer6(t *testing.T, b []byte) {
	t.Helper()
	for addr, lifetime := range parseAnswer6(t, b).Has {
		if addr != guest6.String() && lifetime != "0s" {
			t.Fatalf("it gives away %s", addr)
		}
	}
}

func queries6() []*dhcpv6.Message {
	cfg := testConfig()
	us := dhcpv6.OptServerID(cfg.serverID())
	return []*dhcpv6.Message{
		ask6(dhcpv6.MessageTypeSolicit, rapid, association(1)),
		ask6(dhcpv6.MessageTypeRequest, us, association(1, "fd30:1::2"), association(2)),
		ask6(dhcpv6.MessageTypeRebind, association(1, "fd30:1::3"), &dhcpv6.OptIAPD{}, &dhcpv6.OptIATA{}),
		ask6(dhcpv6.MessageTypeConfirm, association(1, "fd30:1::3")),
	}
}

func TestAnswersOfDHCPv6(t *testing.T) {
	t.Parallel()
	cfg := testConfig()
	us := dhcpv6.OptServerID(cfg.serverID())
	another := dhcpv6.OptServerID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: hostMAC})
	const gateway, forever = "fd30:1::1", "1193046h28m15s"
	has := map[string]string{"fd30:1::2": forever}
	lease := answer6{Kind: dhcpv6.MessageTypeReply, Has: has, DNS: gateway}
	anonymous := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeInformationRequest}
	for _, test := range []struct {
		name string
		q    *dhcpv6.Message
		want answer6 // the zero answer6: none
	}{
		{"four messages", ask6(dhcpv6.MessageTypeSolicit, association(1)), answer6{Kind: dhcpv6.MessageTypeAdvertise, Has: has, DNS: gateway}},
		{"four messages, the third", ask6(dhcpv6.MessageTypeRequest, us, association(1, "fd30:1::2")), lease},
		{"two messages", ask6(dhcpv6.MessageTypeSolicit, rapid, association(1)), answer6{Kind: dhcpv6.MessageTypeReply, Has: has, DNS: gateway, Rapid: true}},
		{"for another server", ask6(dhcpv6.MessageTypeRequest, another, association(1)), answer6{}},
		{"for no server", ask6(dhcpv6.MessageTypeRequest, association(1)), answer6{}},
		{"a solicitation for us alone", ask6(dhcpv6.MessageTypeSolicit, us, association(1)), answer6{}},
		{"renewal", ask6(dhcpv6.MessageTypeRenew, us, association(1, "fd30:1::2")), lease},
		{"renewal of another address", ask6(dhcpv6.MessageTypeRenew, us, association(1, "fd30:1::9")),
			answer6{Kind: dhcpv6.MessageTypeReply, Has: map[string]string{"fd30:1::2": forever, "fd30:1::9": "0s"}, DNS: gateway}},
		{"rebinding", ask6(dhcpv6.MessageTypeRebind, association(1, "fd30:1::2")), lease},
		{"confirmation", ask6(dhcpv6.MessageTypeConfirm, association(1, "fd30:1::2")), answer6{Kind: dhcpv6.MessageTypeReply, Status: "Success"}},
		{"confirmation of another address", ask6(dhcpv6.MessageTypeConfirm, association(1, "fd30:1::9")), answer6{Kind: dhcpv6.MessageTypeReply, Status: "NotOnLink"}},
		{"confirmation of nothing", ask6(dhcpv6.MessageTypeConfirm, association(1)), answer6{}},
		{"all but an address", anonymous, answer6{Kind: dhcpv6.MessageTypeReply, DNS: gateway}},
		{"an address for nobody", &dhcpv6.Message{MessageType: dhcpv6.MessageTypeSolicit}, answer6{}},
		{"release", ask6(dhcpv6.MessageTypeRelease, us, association(1, "fd30:1::2")), answer6{Kind: dhcpv6.MessageTypeReply, Status: "Success"}},
		{"too much", ask6(dhcpv6.MessageTypeSolicit, association(1), association(2), &dhcpv6.OptIAPD{IaId: [4]byte{3}}),
			answer6{Kind: dhcpv6.MessageTypeAdvertise, Has: has, Errors: []string{"NoAddrsAvail", "NoPrefixAvail"}, DNS: gateway}},
		{"an answer", ask6(dhcpv6.MessageTypeReply, us, association(1)), answer6{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := datagram{src: netip.MustParseAddr("fe80::7"), dst: allDHCPServers, payload: test.q.ToBytes()}
			var got answer6
			if b, ok := cfg.handle6(d, guestMAC); ok {
				got = parseAnswer6(t, b)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if _, ok := cfg.handle6(d, mac("02:00:00:00:00:09")); ok {
				t.Error("a stranger gets an answer")
			}
		})
	}
}

func TestGuestGetsItsAddressOverDHCPv6(t *testing.T) {
	l := newLab(t)
	l.neighbour() // waits for the guest's link-local address
	l.start()
	conn := l.guestUDP("udp6", "[::]:546")
	got := parseAnswer6(t, l.exchange(conn, ask6(dhcpv6.MessageTypeSolicit, rapid, association(1)).ToBytes(), l.servers6()))
	want := answer6{Kind: dhcpv6.MessageTypeReply, Has: map[string]string{"fd30:1::2": "1193046h28m15s"}, DNS: "fd30:1::1", Rapid: true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
