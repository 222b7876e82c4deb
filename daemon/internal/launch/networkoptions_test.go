package launch

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/pkg/nspawnfile"
)

func TestNetworksThatMakeNoSense(t *testing.T) {
	t.Parallel()
	one := []string{"80"}
	for what, c := range map[string]struct {
		options machd.NetworkOptions
		want    string // "" if it does
	}{
		"veth":                        {machd.NetworkOptions{Network: "veth", Publish: one}, ""},
		"none and a link":             {machd.NetworkOptions{Network: "none", MACVLAN: []string{"lo"}}, ""},
		"a zone":                      {machd.NetworkOptions{Zone: "shop", Addresses: []string{"10.0.0.2/24"}}, ""},
		"an extra link":               {machd.NetworkOptions{VirtualEx: []string{"a", "b:c"}}, ""},
		"a link by another name":      {machd.NetworkOptions{Interfaces: []string{"lo:eth0"}}, ""},
		"the same port twice":         {machd.NetworkOptions{Publish: []string{"80", "80:80/tcp", "80/udp"}}, ""},
		"another network":             {machd.NetworkOptions{Network: "vlan"}, "'vlan' is none of veth, none and host"},
		"host and a port":             {machd.NetworkOptions{Network: "host", Publish: one}, "which option 'publish' is about"},
		"host and a zone":             {machd.NetworkOptions{Network: "host", Zone: "z"}, "which option 'zone' is about"},
		"host and a link":             {machd.NetworkOptions{Network: "host", VirtualEx: []string{"a"}}, "'network_veth_extra'"},
		"none and a zone":             {machd.NetworkOptions{Network: "none", Zone: "z"}, "option 'zone' asks for one"},
		"none and a MAC address":      {machd.NetworkOptions{Network: "none", MAC: "02:00:00:00:00:01"}, "option 'mac' is about a link"},
		"a zone and a bridge":         {machd.NetworkOptions{Zone: "z", Bridge: "lo"}, "contradict each other"},
		"a long zone":                 {machd.NetworkOptions{Zone: "thirteen-long"}, "which has up to 12 letters"},
		"a zone with a slash":         {machd.NetworkOptions{Zone: "a/b"}, "is no name of a zone"},
		"a bridge that is none":       {machd.NetworkOptions{Bridge: "lo"}, "link 'lo' is no bridge but"},
		"a bridge that there is not":  {machd.NetworkOptions{Bridge: "no-such-link"}, "this host has no link 'no-such-link'"},
		"a link that there is not":    {machd.NetworkOptions{MACVLAN: []string{"no-such-link:x"}}, "'macvlan': this host has no link"},
		"no link":                     {machd.NetworkOptions{IPVLAN: []string{""}}, "cannot be the name of a link"},
		"a link by no name":           {machd.NetworkOptions{Interfaces: []string{"lo:"}}, "'' cannot be the name of a link"},
		"an extra link with a number": {machd.NetworkOptions{VirtualEx: []string{"7"}}, "two names of links"},
		"an extra link too long":      {machd.NetworkOptions{VirtualEx: []string{"a:sixteen-long-xxx"}}, "two names of links"},
		"a bad port":                  {machd.NetworkOptions{Publish: []string{"0"}}, "'publish': '0' is no port to publish: there is no port 0"},
		"a bad inward port":           {machd.NetworkOptions{ExposeHost: []string{"1.2.3.4:80"}}, "'expose_host': '1.2.3.4:80' is no port"},
		"a port to two":               {machd.NetworkOptions{Publish: []string{"80-82", "81:90"}}, "port 81/tcp on the host leads to two, 81 and 90"},
		"a port of the host at two":   {machd.NetworkOptions{ExposeHost: []string{"80:1", "80:2"}}, "port 80/tcp at the gateway leads to two, 1 and 2"},
	} {
		err := checkOptions(machd.StartOptions{NetworkOptions: c.options})
		if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, machine1.ErrInvalidArgs) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
	for _, o := range []machd.NetworkOptions{
		{Network: "veth"}, {Zone: "z"}, {Bridge: "b"}, {VirtualEx: one}, {MACVLAN: one}, {IPVLAN: one}, {Interfaces: one},
		{Addresses: one}, {Gateways: one}, {MAC: "x"}, {Publish: one}, {ExposeHost: one},
	} {
		err := checkOptions(machd.StartOptions{VM: true, NetworkOptions: o})
		if !errors.Is(err, machine1.ErrInvalidArgs) || !strings.Contains(err.Error(), "is for containers") {
			t.Errorf("a virtual machine with %+v: %v", o, err)
		}
	}
}

func TestNetworksOnTheCommandLine(t *testing.T) {
	t.Parallel()
	stock := strings.Fields(stockLine)
	bare := strings.Fields(strings.Replace(stockLine, " --network-veth", "", 1))
	trusted := strings.Fields(strings.NewReplacer(" --network-veth", "", " --settings=override", "").Replace(stockLine) + " --settings=trusted")
	const zoned = "[Network]\nZone=z\n"
	for what, c := range map[string]struct {
		settings string
		options  machd.NetworkOptions
		line     []string
		added    string
	}{
		"veth":              {"", machd.NetworkOptions{Network: "veth"}, bare, "--network-veth"},
		"none":              {"", machd.NetworkOptions{Network: "none"}, bare, "--private-network"},
		"host":              {"", machd.NetworkOptions{Network: "host"}, bare, ""},
		"zone":              {"", machd.NetworkOptions{Zone: "a"}, stock, "--network-zone=a"},
		"veth over a zone":  {zoned, machd.NetworkOptions{Network: "veth"}, trusted, "--network-veth"},
		"ports and a zone":  {zoned, machd.NetworkOptions{Publish: []string{"80"}, MAC: "02::1"}, stock, ""},
		"all kinds of more": {"", machd.NetworkOptions{Bridge: "b", VirtualEx: []string{"x:y"}, MACVLAN: []string{"e"}, IPVLAN: []string{"f"}, Interfaces: []string{"g"}}, stock, "--network-bridge=b --network-veth-extra=x:y --network-macvlan=e --network-ipvlan=f --network-interface=g"},
	} {
		line, err := readCommandLine(stock)
		if err != nil {
			t.Fatal(err)
		}
		var s *settingsFile
		if c.settings != "" {
			s = &settingsFile{trusted: true, file: nspawnfile.Parse(c.settings)}
		}
		line.overrule(networkArguments(c.options), false, s)
		want := append(c.line[:len(c.line):len(c.line)], strings.Fields(c.added)...)
		if diff := cmp.Diff(want, line.argv()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
}

func TestSettingsOfANetworkAreNotPutAsideUnasked(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		mode, settings string
		options        machd.StartOptions
		fine           bool
	}{
		"one link more":            {"override", "Zone=z", machd.StartOptions{NetworkOptions: machd.NetworkOptions{MACVLAN: []string{"lo"}}}, false},
		"one more, and the zone":   {"override", "Zone=z", machd.StartOptions{NetworkOptions: machd.NetworkOptions{MACVLAN: []string{"lo"}, Zone: "z"}}, true},
		"one more, saved":          {"override", "Zone=z", machd.StartOptions{Save: true, NetworkOptions: machd.NetworkOptions{MACVLAN: []string{"lo"}}}, true},
		"one more than none":       {"override", "Private=yes", machd.StartOptions{NetworkOptions: machd.NetworkOptions{MACVLAN: []string{"lo"}}}, true},
		"not that of the host":     {"trusted", "VirtualEthernet=yes", machd.StartOptions{NetworkOptions: machd.NetworkOptions{Network: "host"}}, false},
		"that of the host already": {"override", "VirtualEthernet=no", machd.StartOptions{NetworkOptions: machd.NetworkOptions{Network: "host"}}, true},
		"nobody reads them":        {"no", "VirtualEthernet=yes", machd.StartOptions{NetworkOptions: machd.NetworkOptions{Network: "host"}}, true},
		"another link":             {"override", "VirtualEthernet=yes", machd.StartOptions{NetworkOptions: machd.NetworkOptions{Bridge: "br0"}}, true},
	} {
		line, err := readCommandLine([]string{"systemd-nspawn", "--network-veth", "--settings=" + c.mode})
		if err != nil {
			t.Fatal(err)
		}
		s := &settingsFile{trusted: true, file: nspawnfile.Parse("[Network]\n" + c.settings + "\n")}
		if err := networkIsFree(line, c.options, s); (err == nil) != c.fine {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Whether a machine has a link is for whoever wins to say.
func TestWhoHasALink(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		line, settings string
		trusted, want  bool
	}{
		{"--network-veth", "", true, true},
		{"--network-zone=z --settings=trusted", "Private=yes", true, true},
		{"--network-veth --settings=override", "Private=no", true, false},
		{"--network-veth --settings=override", "MACVLAN=lo", true, false},
		{"--settings=override", "Bridge=b", false, true},
		{"--settings=trusted", "VirtualEthernet=on", false, true},
		{"", "VirtualEthernet=on", true, true},
		{"", "VirtualEthernet=on", false, false},
		{"--settings=no", "VirtualEthernet=on", true, false},
		{"--private-network --settings=trusted", "VirtualEthernet=on", true, false},
	} {
		line, err := readCommandLine(append([]string{"systemd-nspawn"}, strings.Fields(c.line)...))
		if err != nil {
			t.Fatal(err)
		}
		var s *settingsFile
		if c.settings != "" {
			s = &settingsFile{trusted: c.trusted, file: nspawnfile.Parse("[Network]\n" + c.settings + "\n")}
		}
		if got := hasLink(line, s); got != c.want {
			t.Errorf("%q with %q: %v", c.line, c.settings, got)
		}
	}
}

func TestNetworksAreSaved(t *testing.T) {
	t.Parallel()
	settings, _ := saved(t, nil, machd.StartOptions{NetworkOptions: machd.NetworkOptions{
		Network: "veth", Zone: "z", VirtualEx: []string{"a:b"}, MACVLAN: []string{"eth0"}, IPVLAN: []string{"eth1"}, Interfaces: []string{"eth2"},
		Addresses: []string{"10.0.0.2/30"}, Gateways: []string{"10.0.0.1"}, MAC: "02:00:00:00:00:01",
		Publish: []string{"8080:80", "53/udp"}, ExposeHost: []string{"5432"},
	}})
	want := `[Network]
VirtualEthernet=yes
Zone=z
VirtualEthernetExtra=a:b
MACVLAN=eth0
IPVLAN=eth1
Interface=eth2

[X-Machd]
Address=10.0.0.2/30
Gateway=10.0.0.1
MAC=02:00:00:00:00:01
Publish=8080:80
Publish=53/udp
ExposeHost=5432
`
	if diff := cmp.Diff(want, settings); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if problems := nspawnfile.Parse(settings).Problems(); len(problems) > 0 {
		t.Errorf("nobody acts on %v", problems)
	}
	there := map[string]string{SettingsPath("web"): want}
	for what, c := range map[string]struct {
		options machd.NetworkOptions
		with    []string // lines there are then
		without []string
	}{
		"the host's network": {machd.NetworkOptions{Network: "host"}, []string{"Private=no", "VirtualEthernet=no"},
			[]string{"Zone", "MACVLAN", "IPVLAN", "Interface=", "Extra"}},
		"no network":  {machd.NetworkOptions{Network: "none"}, []string{"Private=yes", "VirtualEthernet=no", "MACVLAN=eth0"}, []string{"Zone"}},
		"a bridge":    {machd.NetworkOptions{Bridge: "br0"}, []string{"Bridge=br0", "VirtualEthernet=yes"}, []string{"Zone"}},
		"one of both": {machd.NetworkOptions{Network: "veth"}, []string{"VirtualEthernet=yes"}, []string{"Zone"}},
		"another address": {machd.NetworkOptions{Addresses: []string{"10.1.1.2/24"}}, []string{"Address=10.1.1.2/24", "Zone=z"},
			[]string{"10.0.0.2", "Gateway"}},
		"one port more": {machd.NetworkOptions{Publish: []string{"53/udp", "9"}}, []string{"Publish=8080:80\nPublish=53/udp\nPublish=9\n"}, nil},
	} {
		settings, _ := saved(t, there, machd.StartOptions{NetworkOptions: c.options})
		for _, line := range c.with {
			if !strings.Contains(settings, line) {
				t.Errorf("%s: no %q in\n%s", what, line, settings)
			}
		}
		for _, line := range c.without {
			if strings.Contains(settings, line) {
				t.Errorf("%s: %q in\n%s", what, line, settings)
			}
		}
	}
	_, err := savedFiles("web", machd.StartOptions{NetworkOptions: machd.NetworkOptions{Addresses: []string{"1\n2"}}}, nil, nil,
		func(string) (string, error) { return "", nil })
	if !errors.Is(err, machine1.ErrInvalidArgs) {
		t.Errorf("two lines are saved: %v", err)
	}
}
