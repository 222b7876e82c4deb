package lan

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
)

// The addresses of the host and of those outside. The numbers are those that are
// kept for examples.
const (
	Host4, Outside4 = "192.0.2.1", "192.0.2.2"
	Host6, Outside6 = "2001:db8::1", "2001:db8::2"

	// The host's default routes lead to the Internet, by another link.
	HostWide4, Internet4 = "203.0.113.1", "203.0.113.2"
	HostWide6, Internet6 = "2001:db8:1::1", "2001:db8:1::2"
)

// The host's links.
const (
	Link     = "lan0"
	WideLink = "wan0"
)

// A Network is what a host is joined to. Outside is a host of its LAN, without a
// route to anything else. Internet is where its default routes lead.
type Network struct{ Outside, Internet Place }

// Join joins this host to a Network, for as long as it runs.
func Join() (Network, error) {
	return Network{named("outside"), named("internet")}, errors.Join(
		BridgeFilter(false),
		ip("netns add outside"),
		ip("netns add internet"),
		cable(Link, Host4+"/24", Host6+"/64", "outside", Outside4+"/24", Outside6+"/64"),
		cable(WideLink, HostWide4+"/24", HostWide6+"/64", "internet", Internet4+"/24", Internet6+"/64"),
		ip("route add default via "+Internet4),
		ip("route add default via "+Internet6),
	)
}

// cable joins a link of the host's to eth0 of a namespace.
func cable(link, host4, host6, there, there4, there6 string) error {
	return errors.Join(
		ip("link add "+link+" type veth peer name eth0 netns "+there),
		ip("address add "+host4+" dev "+link),
		ip("address add "+host6+" dev "+link+" nodad"),
		ip("link set "+link+" up"),
		ip("-n "+there+" address add "+there4+" dev eth0"),
		ip("-n "+there+" address add "+there6+" dev eth0 nodad"),
		ip("-n "+there+" link set eth0 up"),
		ip("-n "+there+" link set lo up"),
	)
}

// BridgeFilter switches whether what passes a bridge goes through the rules for
// IP, too. A host has that if a program such as docker has loaded br_netfilter;
// where it is part of the kernel it is on from the first.
func BridgeFilter(on bool) error {
	value := []byte("0")
	if on {
		value = []byte("1")
	}
	var failed []error
	for _, name := range []string{"iptables", "ip6tables"} {
		err := os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-"+name, value, 0)
		if errors.Is(err, fs.ErrNotExist) && !on {
			continue // nobody has loaded it
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

func ip(words string) error {
	out, err := exec.Command("ip", strings.Fields(words)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", words, err, out)
	}
	return nil
}
