package machd_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

var byValue = cmpopts.EquateComparable(netip.Addr{})

func TestPortsAsPeopleWriteThem(t *testing.T) {
	t.Parallel()
	four, six := netip.MustParseAddr("192.168.1.5"), netip.MustParseAddr("2001:db8::1")
	for text, want := range map[string][]machd.Port{
		"80":                       {{Protocol: machd.TCP, Host: 80, Guest: 80}},
		"8080:80":                  {{Protocol: machd.TCP, Host: 8080, Guest: 80}},
		"8080:80/tcp":              {{Protocol: machd.TCP, Host: 8080, Guest: 80}},
		"53/udp":                   {{Protocol: machd.UDP, Host: 53, Guest: 53}},
		"53/UDP":                   {{Protocol: machd.UDP, Host: 53, Guest: 53}},
		"tcp:8080:80":              {{Protocol: machd.TCP, Host: 8080, Guest: 80}},
		"udp:53":                   {{Protocol: machd.UDP, Host: 53, Guest: 53}},
		"65535:1":                  {{Protocol: machd.TCP, Host: 65535, Guest: 1}},
		"192.168.1.5:80":           {{Protocol: machd.TCP, Address: four, Host: 80, Guest: 80}},
		"192.168.1.5:8080:80/udp":  {{Protocol: machd.UDP, Address: four, Host: 8080, Guest: 80}},
		"[2001:db8::1]:80":         {{Protocol: machd.TCP, Address: six, Host: 80, Guest: 80}},
		"[2001:db8::1]:8080:80":    {{Protocol: machd.TCP, Address: six, Host: 8080, Guest: 80}},
		"[::ffff:192.168.1.5]:80":  {{Protocol: machd.TCP, Address: four, Host: 80, Guest: 80}},
		"udp:[2001:db8::1]:53":     {{Protocol: machd.UDP, Address: six, Host: 53, Guest: 53}},
		"9000-9001":                {{Protocol: machd.TCP, Host: 9000, Guest: 9000}, {Protocol: machd.TCP, Host: 9001, Guest: 9001}},
		"8000-8001:9000-9001":      {{Protocol: machd.TCP, Host: 8000, Guest: 9000}, {Protocol: machd.TCP, Host: 8001, Guest: 9001}},
		"192.168.1.5:7-8:1-2/udp":  {{Protocol: machd.UDP, Address: four, Host: 7, Guest: 1}, {Protocol: machd.UDP, Address: four, Host: 8, Guest: 2}},
		"[2001:db8::1]:7-7:80/tcp": {{Protocol: machd.TCP, Address: six, Host: 7, Guest: 80}},
	} {
		got, err := machd.ParsePorts(text)
		if diff := cmp.Diff(want, got, byValue); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", text, err, diff)
		}
	}
	all, err := machd.ParsePorts("1000-2023")
	if err != nil || len(all) != machd.MaxPorts {
		t.Errorf("%d ports, %v", len(all), err)
	}
}

func TestBadPortsSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                      "a port is missing",
		"0":                     "there is no port 0; ports are from 1 to 65535",
		"80:0":                  "there is no port 0;",
		"65536":                 "there is no port 65536;",
		"99999999999999999999":  "there is no port 99999999999999999999;",
		"-1":                    "a port is missing",
		"http":                  "'http' is no port;",
		"80/sctp":               "'sctp' is no protocol that has ports here; tcp and udp are",
		"80/":                   "'' is no protocol",
		"tcp:80/udp":            "it names a protocol twice, 'tcp' and 'udp'",
		"localhost:8080:80":     "'localhost' is no address",
		"1.2.3:80":              "'1.2.3' is no address",
		"1.2.3.4":               "'1.2.3.4' is no port",
		"1.2.3.4:":              "a port is missing",
		"0.0.0.0:80":            "without one, every address of the host counts",
		"[::]:80":               "without one, every address of the host counts",
		"224.0.0.1:80":          "is no address of one host",
		"[fe80::1%eth0]:80":     "is an address of one link only",
		"::1:8080:80":           "an IPv6 address is in brackets, as in [::1]:8080:80",
		"[::1]":                 "behind the address in brackets",
		"[::1":                  "behind the address in brackets",
		"80:90:100":             "'80' is no address",
		"9001-9000":             "the range 9001-9000 begins behind its end; 9000-9001 does not",
		"8000-8001:9000-9002":   "8000-8001 are 2 ports and 9000-9002 are 3",
		"8000-8001:9000":        "8000-8001 are 2 ports and 9000 are 1",
		"1-1025":                "the range 1-1025 are 1025 ports, of at most 1024 at once",
		"1-2-3":                 "'2-3' is no port",
		"80 ":                   "'80 ' is no port",
		"+80":                   "'+80' is no port",
		"8080:80:tcp":           "'8080' is no address",
		strings.Repeat("1:", 9): "an IPv6 address is in brackets",
	} {
		ports, err := machd.ParsePorts(text)
		if !errors.Is(err, machine1.ErrInvalidArgs) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "'"+text+"'") {
			t.Errorf("%q: %v, %v, want %q", text, ports, err, want)
		}
	}
}

func TestInwardPorts(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]machd.Port{
		"5432":          {{Protocol: machd.TCP, Host: 5432, Guest: 5432}},
		"80:8080":       {{Protocol: machd.TCP, Host: 8080, Guest: 80}},
		"53:5353/udp":   {{Protocol: machd.UDP, Host: 5353, Guest: 53}},
		"7-8:1007-1008": {{Protocol: machd.TCP, Host: 1007, Guest: 7}, {Protocol: machd.TCP, Host: 1008, Guest: 8}},
	} {
		got, err := machd.ParseInwardPorts(text)
		if diff := cmp.Diff(want, got, byValue); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", text, err, diff)
		}
	}
	for text, want := range map[string]string{
		"127.0.0.1:80": "it takes no address",
		"0":            "there is no port 0",
	} {
		_, err := machd.ParseInwardPorts(text)
		if !errors.Is(err, machine1.ErrInvalidArgs) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// A port is told as it can be given again.
func FuzzParsePorts(f *testing.F) {
	for _, seed := range []string{
		"80", "8080:80/udp", "tcp:1:2", "[::1]:80", "10.0.0.1:1-3:4-6/udp", "9-1", "0", "::", "[", "]:", "/", "1-", "udp:", "[::ffff:1.2.3.4]:5",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ports, err := machd.ParsePorts(text)
		if err == nil && (len(ports) == 0 || len(ports) > machd.MaxPorts) {
			t.Errorf("%q are %d ports", text, len(ports))
		}
		for _, p := range ports {
			again, err := machd.ParsePorts(p.String())
			if err != nil || len(again) != 1 || again[0] != p || p.Host == 0 || p.Guest == 0 {
				t.Errorf("%q has %+v, which is %q and comes back as %+v, %v", text, p, p, again, err)
			}
		}
		inward, _ := machd.ParseInwardPorts(text)
		for _, p := range inward {
			again, err := machd.ParseInwardPorts(p.InwardString())
			if err != nil || len(again) != 1 || again[0] != p {
				t.Errorf("%q has %+v, which is %q and comes back as %+v, %v", text, p, p.InwardString(), again, err)
			}
		}
	})
}

func TestListsOfPorts(t *testing.T) {
	t.Parallel()
	ports, err := machd.ParsePortList([]string{"80", "80:80/tcp", "79-80", "53/udp"}, false)
	want := []machd.Port{{Protocol: machd.TCP, Host: 80, Guest: 80}, {Protocol: machd.TCP, Host: 79, Guest: 79}, {Protocol: machd.UDP, Host: 53, Guest: 53}}
	if diff := cmp.Diff(want, ports, byValue); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	ports, err = machd.ParsePortList([]string{"80:90"}, true)
	if err != nil || len(ports) != 1 || ports[0].Guest != 80 || ports[0].Host != 90 {
		t.Errorf("inward: %v, %v", ports, err)
	}
	// Of one that is removed, the first number is enough.
	removed, err := machd.ParseRemovedPorts([]string{"80", "[::1]:8080-8081/udp", "8080:80", "80"}, false)
	want = []machd.Port{
		{Protocol: machd.TCP, Host: 80}, {Protocol: machd.UDP, Address: netip.IPv6Loopback(), Host: 8080},
		{Protocol: machd.UDP, Address: netip.IPv6Loopback(), Host: 8081}, {Protocol: machd.TCP, Host: 8080, Guest: 80},
	}
	if diff := cmp.Diff(want, removed, byValue); err != nil || diff != "" {
		t.Errorf("removed: %v (-want +got):\n%s", err, diff)
	}
	removed, err = machd.ParseRemovedPorts([]string{"80", "80:90"}, true)
	want = []machd.Port{{Protocol: machd.TCP, Guest: 80}, {Protocol: machd.TCP, Guest: 80, Host: 90}}
	if diff := cmp.Diff(want, removed, byValue); err != nil || diff != "" {
		t.Errorf("removed, inward: %v (-want +got):\n%s", err, diff)
	}
	for _, texts := range [][]string{nil, {"80", "x"}, {"1-1024", "2000"}} {
		if ports, err := machd.ParsePortList(texts, false); !errors.Is(err, machine1.ErrInvalidArgs) {
			t.Errorf("%q: %d ports, %v", texts, len(ports), err)
		}
	}
}
