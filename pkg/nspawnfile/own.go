package nspawnfile

import "strings"

// A Key is one of the section of machd's own.
type Key struct {
	Name    string
	Value   string // what stands behind the equals sign
	Text    string // what it is for
	Several bool   // it may be there several times, and have several values
}

// OwnKeys are those that machd reads in its section. machd.nspawn(5) is made of
// this table.
var OwnKeys = []Key{
	{
		"After", "NAME", "The machine is started when the machines of these names can be used, where one start, " +
			"such as that of the host, starts them all. It is stopped before them.", true,
	},
	{"Requires", "NAME", "The same, and it is not started if one of them cannot be, and is stopped with them.", true},
	{
		"Network", "BOOL", "With no, machd leaves the machine's link to the host alone: no addresses, no way out, no answers " +
			"to DHCP. Without it, /etc/machd/network.conf says what is to be done.", false,
	},
	{
		"Address", "ADDRESS/LENGTH", "An address of the machine on its link, one of IPv4 and one of IPv6. Otherwise they are chosen by " +
			"its name, and always the same.", true,
	},
	{"Gateway", "ADDRESS", "The host's address on that link, or in a bridge the address of another router, likewise.", true},
	{"MAC", "ADDRESS", "The MAC address of the machine's link.", false},
	{
		"Publish", "[ADDRESS:]HOST[:GUEST][/tcp|/udp]", "Port HOST of the host leads to port GUEST of the machine, the same one if that " +
			"is left out; both may be ranges. Port= of the section [Network] counts as well, but systemd-nspawn acts on it besides.", true,
	},
	{
		"ExposeHost", "PORT[:HOSTPORT][/tcp|/udp]", "The machine finds at PORT of its gateway what listens at HOSTPORT of the host, " +
			"be it at 127.0.0.1 only.", true,
	},
	{"Note", "TEXT", "What people are to know of the machine. machd does nothing with it.", false},
}

func ownKeyNames() string {
	names := make([]string, len(OwnKeys))
	for i, k := range OwnKeys {
		names[i] = k.Name
	}
	return strings.Join(names, " ")
}
