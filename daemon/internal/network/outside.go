package network

import (
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/machd/machd/daemon/internal/link"
)

// outside is what the host's network is, apart from its machines. It is read
// again when it changes, not for every machine.
type outside struct {
	host *link.Space

	mu       sync.Mutex
	uplinks  []link.Uplink
	occupied link.Occupied
	read     bool
}

// refresh has the next question look again.
func (o *outside) refresh() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.read = false
}

// look reads what has changed. o.mu is held.
func (o *outside) look() error {
	if o.read {
		return nil
	}
	var err error
	if o.uplinks, err = o.host.Uplinks(isOurs); err != nil {
		return err
	}
	if o.occupied, err = o.host.Occupied(isOurs); err != nil {
		return err
	}
	o.read = true
	return nil
}

// links returns the host's links that lead somewhere else than to machines.
func (o *outside) links() ([]link.Uplink, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	err := o.look()
	return o.uplinks, err
}

// isOurs reports whether a link of that name leads to machines. systemd-nspawn
// names them so, and no other program does.
func isOurs(name string) bool {
	return slices.ContainsFunc([]string{"ve-", "vb-", "vz-", "vt-"}, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// overlaps tells through which link the host reaches part of a network already.
// What cannot be read is no reason to refuse anything.
func (o *outside) overlaps(p netip.Prefix) (where string, yes bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.look(); err != nil {
		return "", false
	}
	return o.occupied.Overlaps(p)
}

// mtu returns the smallest MTU of the links by which the host itself goes out,
// or 0 if there is none.
func (o *outside) mtu() int {
	links, _ := o.links()
	smallest := 0
	for _, l := range links {
		if (l.Default4 || l.Default6) && (smallest == 0 || l.MTU < smallest) {
			smallest = l.MTU
		}
	}
	return smallest
}

func (o *outside) names() (names []string) {
	links, _ := o.links()
	for _, l := range links {
		names = append(names, l.Name)
	}
	return names
}

func (o *outside) hasIPv6() bool {
	return o.host.WithoutIPv6("all") == "" && o.host.WithoutIPv6("default") == ""
}
