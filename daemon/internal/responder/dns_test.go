package responder

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"
)

// packQuery returns a query as resolvers make them.
func packQuery(tb testing.TB, name string, kind dnsmessage.Type, edns int) []byte {
	tb.Helper()
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 0x1234, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}},
	}
	if edns > 0 {
		options := dnsmessage.Resource{Body: &dnsmessage.OPTResource{}}
		if err := options.Header.SetEDNS0(edns, 0, true); err != nil {
			tb.Fatal(err)
		}
		m.Additionals = append(m.Additionals, options)
	}
	b, err := m.Pack()
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// describe returns what a client reads in an answer, as one line.
func describe(tb testing.TB, b []byte) string {
	tb.Helper()
	var m dnsmessage.Message
	if err := m.Unpack(b); err != nil {
		tb.Fatalf("cannot read the answer %x: %v", b, err)
	}
	words := []string{strings.TrimPrefix(m.RCode.String(), "RCode")}
	for _, r := range m.Answers {
		switch body := r.Body.(type) {
		case *dnsmessage.AResource:
			words = append(words, netip.AddrFrom4(body.A).String())
		case *dnsmessage.AAAAResource:
			words = append(words, netip.AddrFrom16(body.AAAA).String())
		case *dnsmessage.PTRResource:
			words = append(words, body.PTR.String())
		default:
			words = append(words, r.Header.Type.String())
		}
	}
	for _, r := range m.Additionals {
		if r.Header.Type == dnsmessage.TypeOPT {
			words = append(words, "EDNS")
		}
	}
	if m.Truncated {
		words = append(words, "truncated")
	}
	if !m.Response || m.ID != 0x1234 {
		words = append(words, "that is no answer to the query")
	}
	return strings.Join(words, " ")
}

const reverse4, reverse6 = ".0.213.10.in-addr.arpa.", ".0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.3.d.f.ip6.arpa."

func TestNamesOfMachines(t *testing.T) {
	t.Parallel()
	cfg := testConfig()
	for _, test := range []struct {
		name string
		kind dnsmessage.Type
		want string // "" is: ask the host's servers
	}{
		{"c1.", dnsmessage.TypeA, "Success 10.213.0.2"},
		{"c1.", dnsmessage.TypeAAAA, "Success fd30:1::2"},
		{"C1.", dnsmessage.TypeALL, "Success 10.213.0.2 fd30:1::2"},
		{"c1.", dnsmessage.TypeMX, "Success"},
		{"c2.", dnsmessage.TypeA, ""},
		{"www.example.org.", dnsmessage.TypeA, ""},
		{".", dnsmessage.TypeNS, ""},
		{"2" + reverse4, dnsmessage.TypePTR, "Success c1."},
		{"2" + reverse4, dnsmessage.TypeA, "Success"},
		{"3" + reverse4, dnsmessage.TypePTR, "NameError"},
		{"9" + reverse4, dnsmessage.TypePTR, ""}, // of another link
		{"2" + reverse6[2:], dnsmessage.TypePTR, ""},
		{"2.0.0.0.0" + reverse6[8:], dnsmessage.TypePTR, "Success c1."},
		{"x.0.0.0.0" + reverse6[8:], dnsmessage.TypePTR, ""},
		{"2.213.10.in-addr.arpa.", dnsmessage.TypePTR, ""},
		{"www.example.org.", dnsmessage.TypeAXFR, "Refused"},
		{"www.example.org.", typeIXFR, "Refused"},
	} {
		t.Run(fmt.Sprintf("%s %v", test.name, test.kind), func(t *testing.T) {
			t.Parallel()
			for _, edns := range []int{0, 1232} {
				want := test.want
				if edns > 0 && want != "" {
					want += " EDNS"
				}
				got := ""
				if reply, v := cfg.resolve(packQuery(t, test.name, test.kind, edns), 0); v == answer {
					got = describe(t, reply)
				}
				if got != want {
					t.Errorf("with room for %d bytes: %q, want %q", edns, got, want)
				}
			}
		})
	}
}

// Names are compared as they are written, and told as they were asked for:
// resolvers look whether the answer is spelled like the question.
func TestAnswerSpellsLikeQuestion(t *testing.T) {
	t.Parallel()
	cfg := testConfig()
	query := packQuery(t, "C1.", dnsmessage.TypeA, 0)
	reply, _ := cfg.resolve(query, 0)
	if !answers(reply, query, 0x1234) || !strings.Contains(string(reply), "C1") {
		t.Errorf("%q is the answer to %q", reply, query)
	}
}

func TestAnswerThatIsTooLongIsCut(t *testing.T) {
	t.Parallel()
	cfg := testConfig()
	many := slices.Repeat([]netip.Addr{guest6}, 100)
	cfg.Lookup = func(string) ([]netip.Addr, bool) { return many, true }
	for _, test := range []struct {
		edns, limit, answers int
	}{
		{0, 0, 0}, {1232, 0, mostAddresses}, {0, longestMessage, mostAddresses},
	} {
		reply, _ := cfg.resolve(packQuery(t, "c1.", dnsmessage.TypeAAAA, test.edns), test.limit)
		var m dnsmessage.Message
		if err := m.Unpack(reply); err != nil {
			t.Fatal(err)
		}
		if len(m.Answers) != test.answers || m.Truncated != (test.answers == 0) {
			t.Errorf("with room for %d or %d bytes: %d addresses, cut: %v; want %d addresses",
				test.edns, test.limit, len(m.Answers), m.Truncated, test.answers)
		}
	}
}

func TestQueriesThatAreNone(t *testing.T) {
	t.Parallel()
	cfg := testConfig()
	query := packQuery(t, "c1.", dnsmessage.TypeA, 0)
	changed := func(at int, to byte) []byte {
		b := slices.Clone(query)
		b[at] = to
		return b
	}
	for _, test := range []struct {
		name  string
		query []byte
		want  string // "" is: no answer
	}{
		{"an answer", changed(2, 0x80), ""},
		{"half a header", query[:8], ""},
		{"nothing", nil, ""},
		{"far too long", make([]byte, longestQuery+1), ""},
		{"an update", changed(2, 5<<3), "NotImplemented"},
		{"two questions", changed(5, 2), "FormatError"},
		{"no question", changed(5, 0), "FormatError"},
		{"a name that points at itself", changed(dnsHeader, 0xc0), "FormatError"},
		{"half a question", query[:len(query)-3], "FormatError"},
	} {
		got := ""
		if reply, v := cfg.resolve(test.query, 0); v == answer {
			got = describe(t, reply)
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestReversedNames(t *testing.T) {
	t.Parallel()
	got := map[string]string{}
	for _, name := range []string{
		"4.3.2.1.in-addr.arpa", "256.3.2.1.in-addr.arpa", "3.2.1.in-addr.arpa", "in-addr.arpa", "c1",
		"8.b.d.0.1.0.0.2.ip6.arpa", strings.Repeat("0.", 31) + "1.ip6.arpa", strings.Repeat("0-", 31) + "1.ip6.arpa",
	} {
		if addr, ok := reversed(name); ok {
			got[name] = addr.String()
		}
	}
	want := map[string]string{"4.3.2.1.in-addr.arpa": "1.2.3.4", strings.Repeat("0.", 31) + "1.ip6.arpa": "1000::"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzResolve(f *testing.F) {
	cfg := testConfig()
	f.Add(packQuery(f, "c1.", dnsmessage.TypeA, 1232))
	f.Add(packQuery(f, "2"+reverse4, dnsmessage.TypePTR, 0))
	f.Add(packQuery(f, "www.example.org.", dnsmessage.Type(65), 4096))
	f.Fuzz(func(t *testing.T, query []byte) {
		reply, v := cfg.resolve(query, 0)
		switch v {
		case forward:
			if failure(query) == nil {
				t.Fatal("what is passed on cannot be answered when no server does")
			}
		case answer:
			var m dnsmessage.Message
			if err := m.Unpack(reply); err != nil {
				t.Fatalf("the answer %x is none: %v", reply, err)
			}
		}
	})
}

func FuzzAnswer(f *testing.F) {
	query := packQuery(f, "www.example.org.", dnsmessage.TypeA, 1232)
	f.Add(query)
	f.Add(failure(query))
	f.Fuzz(func(t *testing.T, reply []byte) {
		if answers(reply, query, 0x1234) {
			refuses(reply)
		}
	})
}
