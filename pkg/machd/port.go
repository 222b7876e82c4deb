package machd

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/machd/machd/pkg/machine1"
)

// MaxPorts is how many ports one text may name.
const MaxPorts = 1024

// String returns the port as ParsePorts reads it: [ADDR:]HOST[:GUEST]/PROTOCOL.
func (p Port) String() string {
	text := strconv.Itoa(int(p.Host))
	if p.Guest != p.Host {
		text += ":" + strconv.Itoa(int(p.Guest))
	}
	return p.at(text)
}

// at adds the address and the protocol to what is said of the numbers.
func (p Port) at(text string) string {
	switch {
	case p.Address.Is6():
		text = "[" + p.Address.String() + "]:" + text
	case p.Address.IsValid():
		text = p.Address.String() + ":" + text
	}
	return text + "/" + string(p.Protocol)
}

// RangeString returns n ports that begin with p and follow one another, on the
// host and in the machine, as ParsePorts reads them.
func RangeString(p Port, n int) string {
	if n == 1 {
		return p.String()
	}
	last := n - 1
	text := fmt.Sprintf("%d-%d", p.Host, int(p.Host)+last)
	if p.Guest != p.Host {
		text += fmt.Sprintf(":%d-%d", p.Guest, int(p.Guest)+last)
	}
	return p.at(text)
}

// InwardString returns the port as ParseInwardPorts reads it:
// GUEST[:HOST]/PROTOCOL.
func (p Port) InwardString() string {
	return Port{Protocol: p.Protocol, Host: p.Guest, Guest: p.Host}.String()
}

// ParsePorts reads which ports of the host lead to which of a machine, as a
// person writes it:
//
//	[ADDR:]HOST[:GUEST][/tcp|/udp]    HOST and GUEST may be ranges FIRST-LAST
//	[tcp:|udp:]HOST[:GUEST]           as systemd-nspawn has it
//
// An IPv6 address is in brackets. Without a GUEST it is the same as HOST,
// without a protocol it is TCP.
func ParsePorts(text string) ([]Port, error) {
	ports, err := parsePublished(text)
	return withBothEnds(ports), err
}

// parsePublished reads what ParsePorts does. A GUEST that was not given is 0.
func parsePublished(text string) ([]Port, error) {
	ports, err := parsePorts(text, true)
	if err != nil {
		return nil, machine1.Errorf(machine1.ErrInvalidArgs, "'%s' is no port to publish: %v", text, err)
	}
	return ports, nil
}

// withBothEnds has an end that was not given be the same as the other.
func withBothEnds(ports []Port) []Port {
	for i, p := range ports {
		ports[i].Host, ports[i].Guest = cmp.Or(p.Host, p.Guest), cmp.Or(p.Guest, p.Host)
	}
	return ports
}

// ParseInwardPorts reads which services of the host a machine finds at which
// ports of its gateway: GUEST[:HOST][/tcp|/udp], both of which may be ranges.
func ParseInwardPorts(text string) ([]Port, error) {
	ports, err := parseInward(text)
	return withBothEnds(ports), err
}

// parseInward reads what ParseInwardPorts does. A HOST that was not given is 0.
func parseInward(text string) ([]Port, error) {
	ports, err := parsePorts(text, false)
	if err != nil {
		return nil, machine1.Errorf(machine1.ErrInvalidArgs, "'%s' is no port of the host to expose: %v", text, err)
	}
	for i, p := range ports {
		ports[i].Host, ports[i].Guest = p.Guest, p.Host
	}
	return ports, nil
}

// parsePorts reads both forms. Guest is the second number, or 0.
func parsePorts(text string, withAddress bool) ([]Port, error) {
	rest, protocol, err := cutProtocol(text)
	if err != nil {
		return nil, err
	}
	address, rest, err := cutAddress(rest)
	switch {
	case err != nil:
		return nil, err
	case address.IsValid() && !withAddress:
		return nil, fmt.Errorf("the machine finds it at the address of its gateway, so that it takes no address")
	}
	hostText, guestText, both := strings.Cut(rest, ":")
	host, err := parseRange(hostText)
	if err != nil {
		return nil, err
	}
	ports := make([]Port, host.length())
	for i := range ports {
		ports[i] = Port{Protocol: protocol, Address: address, Host: uint16(host.first + i)}
	}
	if !both {
		return ports, nil
	}
	guest, err := parseRange(guestText)
	if err != nil {
		return nil, err
	}
	if host.length() != guest.length() {
		return nil, fmt.Errorf("%s are %d ports and %s are %d; there is one for each",
			hostText, host.length(), guestText, guest.length())
	}
	for i := range ports {
		ports[i].Guest = uint16(guest.first + i)
	}
	return ports, nil
}

// cutProtocol cuts off the protocol, which stands at one end.
func cutProtocol(text string) (rest string, protocol Protocol, err error) {
	rest, name, behind := strings.Cut(text, "/")
	if first, after, ok := strings.Cut(rest, ":"); ok && isProtocol(first) {
		if behind {
			return "", "", fmt.Errorf("it names a protocol twice, '%s' and '%s'", first, name)
		}
		return after, Protocol(strings.ToLower(first)), nil
	}
	switch {
	case !behind:
		return rest, TCP, nil
	case isProtocol(name):
		return rest, Protocol(strings.ToLower(name)), nil
	}
	return "", "", fmt.Errorf("'%s' is no protocol that has ports here; tcp and udp are", name)
}

func isProtocol(name string) bool {
	return strings.EqualFold(name, string(TCP)) || strings.EqualFold(name, string(UDP))
}

// cutAddress cuts off the address, if one stands before the ports.
func cutAddress(text string) (address netip.Addr, rest string, err error) {
	name := ""
	switch {
	case strings.HasPrefix(text, "["):
		var closed bool
		if name, rest, closed = strings.Cut(text[1:], "]:"); !closed {
			return netip.Addr{}, "", fmt.Errorf("behind the address in brackets it goes on with ']:' and the port")
		}
	case strings.Count(text, ":") > 2:
		return netip.Addr{}, "", fmt.Errorf("an IPv6 address is in brackets, as in [::1]:8080:80")
	default:
		first, after, ok := strings.Cut(text, ":")
		if !ok || !strings.Contains(first, ".") {
			if strings.Count(text, ":") > 1 {
				return netip.Addr{}, "", fmt.Errorf("'%s' is no address", first)
			}
			return netip.Addr{}, text, nil
		}
		name, rest = first, after
	}
	address, err = netip.ParseAddr(name)
	switch {
	case err != nil:
		return netip.Addr{}, "", fmt.Errorf("'%s' is no address", name)
	case address.Zone() != "":
		return netip.Addr{}, "", fmt.Errorf("'%s' is an address of one link only; one that others can reach is needed", name)
	case address.Unmap().IsUnspecified():
		return netip.Addr{}, "", fmt.Errorf("'%s' is no single address; without one, every address of the host counts", name)
	case address.IsMulticast():
		return netip.Addr{}, "", fmt.Errorf("'%s' is no address of one host", name)
	}
	return address.Unmap(), rest, nil
}

// A portRange is the ports from first to last.
type portRange struct{ first, last int }

func (r portRange) length() int { return r.last - r.first + 1 }

func parseRange(text string) (r portRange, err error) {
	first, last, isRange := strings.Cut(text, "-")
	if r.first, err = parsePort(first); err != nil {
		return portRange{}, err
	}
	r.last = r.first
	if isRange {
		if r.last, err = parsePort(last); err != nil {
			return portRange{}, err
		}
	}
	switch {
	case r.last < r.first:
		return portRange{}, fmt.Errorf("the range %s begins behind its end; %d-%d does not", text, r.last, r.first)
	case r.length() > MaxPorts:
		return portRange{}, fmt.Errorf("the range %s are %d ports, of at most %d at once", text, r.length(), MaxPorts)
	}
	return r, nil
}

func parsePort(text string) (int, error) {
	if text == "" {
		return 0, fmt.Errorf("a port is missing; ports are from 1 to 65535")
	}
	n, err := strconv.ParseUint(text, 10, 32)
	switch {
	case err != nil && strings.Trim(text, "0123456789") != "":
		return 0, fmt.Errorf("'%s' is no port; ports are from 1 to 65535", text)
	case err != nil || n == 0 || n > 65535:
		return 0, fmt.Errorf("there is no port %s; ports are from 1 to 65535", text)
	}
	return int(n), nil
}

// ParsePortList reads several texts, as ParseInwardPorts does if they are inward
// and else as ParsePorts does. A port that is there twice is told once. There has
// to be one.
func ParsePortList(texts []string, inward bool) (ports []Port, err error) {
	parse := ParsePorts
	if inward {
		parse = ParseInwardPorts
	}
	return parseList(texts, parse)
}

// ParseRemovedPorts reads several texts as ParsePortList does, of ports that are
// there already: the first number is enough to tell which. The other one is 0 if it
// was not given: Guest, or Host of those that are inward.
func ParseRemovedPorts(texts []string, inward bool) (ports []Port, err error) {
	parse := parsePublished
	if inward {
		parse = parseInward
	}
	return parseList(texts, parse)
}

func parseList(texts []string, parse func(string) ([]Port, error)) (ports []Port, err error) {
	seen := map[Port]bool{}
	for _, text := range texts {
		list, err := parse(text)
		if err != nil {
			return nil, err
		}
		for _, p := range list {
			if !seen[p] {
				seen[p], ports = true, append(ports, p)
			}
		}
	}
	switch {
	case len(ports) == 0:
		return nil, machine1.Errorf(machine1.ErrInvalidArgs, "No port given; one is [ADDRESS:]HOST[:GUEST][/tcp|/udp]")
	case len(ports) > MaxPorts:
		return nil, machine1.Errorf(machine1.ErrInvalidArgs, "These are %d ports, of at most %d at once", len(ports), MaxPorts)
	}
	return ports, nil
}
