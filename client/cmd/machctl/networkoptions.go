package main

import (
	"errors"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/machd/machd/pkg/machd"
)

// networkOptions are what is said about networks.
type networkOptions struct {
	networkVeth bool
	inward      bool
	fix         bool
}

// networkFlags are those of a start.
const networkFlags = "network network-veth zone bridge network-veth-extra macvlan ipvlan interface address gateway mac publish expose-host "

func (o *options) addNetworkFlags(f *pflag.FlagSet) {
	n := &o.launch.NetworkOptions
	f.StringVar(&n.Network, "network", "", "`WHICH` network it has: veth, a link to the host; none; host, the host's own")
	f.BoolVar(&o.networkVeth, "network-veth", false, "It has a link to the host; behind the verb, -n is the same")
	f.StringVar(&n.Zone, "zone", "", "It shares a network with the other machines of the `ZONE`")
	f.StringVar(&n.Bridge, "bridge", "", "Its link is put into the `BRIDGE` of the host")
	f.Var(&appended{&n.VirtualEx}, "network-veth-extra", "One more link to the host, `HOST[:GUEST]`; may be repeated")
	f.Var(&appended{&n.MACVLAN}, "macvlan", "It gets a macvlan of the `LINK[:GUEST]` of the host; may be repeated")
	f.Var(&appended{&n.IPVLAN}, "ipvlan", "The same as an ipvlan, `LINK[:GUEST]`; may be repeated")
	f.Var(&appended{&n.Interfaces}, "interface", "It gets the `LINK[:GUEST]` of the host altogether; may be repeated")
	f.Var(&appended{&n.Addresses}, "address", "Its link has the `ADDRESS`, as 10.0.1.2/24; one of IPv4 and one of IPv6")
	f.Var(&appended{&n.Gateways}, "gateway", "The host has the `ADDRESS` on that link, or another router; likewise")
	f.StringVar(&n.MAC, "mac", "", "Its link has the MAC `ADDRESS`")
	f.Var(&appended{&n.Publish}, "publish", "The `PORT` of the host leads to it, [ADDRESS:]HOST[:GUEST][/tcp|/udp]; -p is the same")
	f.Var(&appended{&n.ExposeHost}, "expose-host", "It finds the `PORT` of the host at its gateway, PORT[:HOSTPORT][/tcp|/udp]")
	f.BoolVar(&o.inward, "inward", false, "The ports are the host's, for the machine")
	f.BoolVar(&o.fix, "fix", false, "Do what can do no harm")
}

// network completes what a start is told about the network, of which -p says a
// part: a port has no equals sign, and a property of a unit has one.
func (o *options) network(s *machd.StartOptions) error {
	if o.networkVeth {
		if s.Network != "" && s.Network != machd.LinkVeth {
			return usagef("--network-veth and --network=%s exclude each other", s.Network)
		}
		s.Network = machd.LinkVeth
	}
	var properties []string
	s.Publish = s.Publish[:len(s.Publish):len(s.Publish)]
	for _, text := range s.Properties {
		if isPort(text) {
			s.Publish = append(s.Publish, text)
			continue
		}
		if !strings.Contains(text, "=") {
			return usagef("-p %s: neither a port, as 8080:80, nor a property of the unit, as Nice=5", text)
		}
		properties = append(properties, text)
	}
	s.Properties = properties
	if err := checkPorts("--publish", s.Publish, false); err != nil {
		return err
	}
	return checkPorts("--expose-host", s.ExposeHost, true)
}

func isPort(text string) bool {
	return text != "" && !strings.Contains(text, "=") && (strings.ContainsRune("0123456789[", rune(text[0])) ||
		strings.HasPrefix(text, "tcp:") || strings.HasPrefix(text, "udp:"))
}

// checkPorts refuses ports that there cannot be, before anything is done.
func checkPorts(option string, texts []string, inward bool) error {
	if len(texts) == 0 {
		return nil
	}
	if _, err := machd.ParsePortList(texts, inward); err != nil {
		return usagef("%s: %v", option, err)
	}
	return nil
}

// shortNetwork has -n mean --network-veth behind the verb, as with
// systemd-nspawn. Everywhere else it is --lines, of which such verbs have none.
func (a *app) shortNetwork(verb *cobra.Command) {
	if a.stock {
		return
	}
	verb.Flags().VarP(&vethOrLines{a.options}, "lines", "n", "")
	verb.Flags().Lookup("lines").NoOptDefVal = machd.LinkVeth
}

type vethOrLines struct{ o *options }

func (v *vethOrLines) Set(text string) error {
	if text == machd.LinkVeth {
		v.o.networkVeth = true
		return nil
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return errors.New("not a number of lines")
	}
	v.o.lines = uint(n)
	return nil
}

func (v *vethOrLines) String() string { return "" }
func (v *vethOrLines) Type() string   { return "N" }
