package network

import (
	"fmt"
	"net/netip"

	"github.com/machd/machd/pkg/machine1"
)

// A taken network is in use; by says by what, for a person.
type taken func(netip.Prefix) (by string, yes bool)

// choosePool returns the first of pools that the host is no part of. If it is
// part of all of them, its networks are so large that the first one is as good:
// what is behind those stays reachable but for the few addresses in use.
func choosePool(pools []pool, host taken) pool {
	for _, p := range pools {
		if _, clash := host(p.whole); !clash {
			return p
		}
	}
	return pools[0]
}

// allocate returns a network of a space for name: the one that it has by nature
// or had before, or if that is in use the next one.
func allocate(name string, s space, l leases, used taken) (netip.Prefix, error) {
	first := s.slot(name)
	if kept, ok := l.slots[name]; ok && kept < s.size() {
		first = kept
	}
	for i := range s.size() {
		slot := (first + i) % s.size()
		p := s.prefix(slot)
		if _, ok := used(p); ok {
			continue
		}
		if err := l.keep(name, slot, slot == s.slot(name)); err != nil {
			return p, fmt.Errorf("cannot remember the network of %s: %w", name, err)
		}
		return p, nil
	}
	return netip.Prefix{}, machine1.Errorf(machine1.ErrInvalidArgs,
		"No network is left for %s: all %d from %s on are in use", name, s.size(), s.prefix(0))
}

// allocateHost returns an address in the network of a zone for a machine, by the
// same rules. The first is the gateway's.
func allocateHost(name string, network netip.Prefix, l leases, used taken) (netip.Addr, error) {
	room := uint32(1)<<min(16, network.Addr().BitLen()-network.Bits()) - 3 // neither the network's own, nor the gateway's, nor the last
	natural := uint32(hash(name) % uint64(room))
	first := natural
	key := network.String() + " " + name
	if kept, ok := l.slots[key]; ok && uint32(kept) < room {
		first = uint32(kept)
	}
	for i := range room {
		slot := (first + i) % room
		addr := nth(network, 2+slot)
		if _, ok := used(single(addr)); ok {
			continue
		}
		if err := l.keep(key, int(slot), slot == natural); err != nil {
			return addr, fmt.Errorf("cannot remember the address of %s: %w", name, err)
		}
		return addr, nil
	}
	return netip.Addr{}, machine1.Errorf(machine1.ErrInvalidArgs, "No address of %s is left for %s", network, name)
}
