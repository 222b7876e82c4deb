package doctor

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

func trimmed(data []byte) string { return strings.TrimSpace(string(data)) }

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), bits), ok
}

func family(ipv4 bool) string {
	if ipv4 {
		return "IPv4"
	}
	return "IPv6"
}

// within returns a command that runs in the machine's network.
func (p *patient) within(command string) string {
	return "nsenter -t " + strconv.Itoa(p.Leader.PID()) + " -n " + command
}

// joined is a list as a sentence has it.
func joined[T fmt.Stringer](items []T) string {
	words := make([]string, len(items))
	for i, item := range items {
		words[i] = item.String()
	}
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}
