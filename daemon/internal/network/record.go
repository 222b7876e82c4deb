package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/machd/machd/daemon/internal/wholefile"
	"github.com/machd/machd/pkg/machd"
)

// A network is what one machine has. It is written down, for the daemon that
// comes next.
type network struct {
	Machine string
	Kind    string // machd.LinkVeth, LinkZone or LinkBridge
	Shared  string // the zone or bridge

	Guest4, Guest6     netip.Prefix // the machine's addresses, with the length of its network
	Gateway4, Gateway6 netip.Prefix // the host's, or another router's on a bridge
	MAC                string       `json:",omitempty"` // asked for
	Ports, Inward      portList     `json:",omitempty"`

	// Unit is the transient one that options were for: what it was told holds
	// until it is gone. Kept says that nothing else keeps it: its machine has ended
	// and may come again, or an earlier daemon started it.
	Unit string `json:",omitempty"`
	Kept bool   `json:",omitempty"`

	// What follows is known once the machine is there.
	Link  string // the host's side: ve-NAME, or the bridge
	Index int
	Peer  string // the end of the machine's link that is in the bridge
	Since uint64 // when the machine was registered; 0 while its start is under way
	// Given are networks that an administrator has put on the host's side.
	Given []netip.Prefix `json:",omitempty"`
	// Routers are the host's link-local addresses on the bridge of a zone.
	Routers []netip.Addr `json:",omitempty"`

	By       string   // machd.NetworkByMachd and its like; "" if nobody is to
	Problems []string `json:",omitempty"` // that came up
}

// ours reports whether we manage the network.
func (n *network) ours() bool { return n.By == machd.NetworkByMachd }

// addresses are the machine's, IPv4 first.
func (n *network) addresses() []netip.Prefix { return valid(n.Guest4, n.Guest6) }

// gateways are where it finds its way out.
func (n *network) gateways() []netip.Prefix { return valid(n.Gateway4, n.Gateway6) }

// single is the network of one address.
func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

func valid(all ...netip.Prefix) (list []netip.Prefix) {
	for _, p := range all {
		if p.IsValid() {
			list = append(list, p)
		}
	}
	return list
}

// A store keeps the records of networks, a file each.
type store string

func (s store) path(machine string) string { return filepath.Join(string(s), machine+".json") }

// save puts the record in place as a whole.
func (s store) save(n *network) error {
	text, err := json.MarshalIndent(n, "", "  ")
	if err != nil {
		return err
	}
	return wholefile.Write(s.path(n.Machine), append(text, '\n'), 0o644)
}

// files is the directory of what the machine is shown. By the ends of their names
// it is never another machine's record, nor that of the switches.
func (s store) files(machine string) string { return filepath.Join(string(s), machine+filesEnd) }

const filesEnd = ".d"

// remove removes the record and what the machine was shown.
func (s store) remove(machine string) error {
	err := os.Remove(s.path(machine))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, os.RemoveAll(s.files(machine)), s.removeOld(machine))
}

// removeOld removes what an earlier daemon has shown the machine: it had a
// directory of the machine's name, which may be that of something else.
func (s store) removeOld(machine string) error {
	path := filepath.Join(string(s), machine)
	if info, err := os.Lstat(path); err != nil || !info.IsDir() || strings.HasSuffix(machine, filesEnd) {
		return nil
	}
	return os.RemoveAll(path)
}

// all returns the records there are, and an error for those that cannot be read.
func (s store) all() (list []*network, err error) {
	entries, err := os.ReadDir(string(s))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var failed []error
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || strings.HasPrefix(name, ".") {
			continue
		}
		text, readErr := os.ReadFile(s.path(name))
		n := new(network)
		if readErr == nil {
			readErr = json.Unmarshal(text, n)
		}
		if readErr != nil || n.Machine != name {
			failed = append(failed, fmt.Errorf("cannot read %s: %w", s.path(name), readErr))
			continue
		}
		list = append(list, n)
	}
	return list, errors.Join(append(failed, err)...)
}

// Leases remember machines whose network is not the one they have by nature,
// because another had it: they keep it, whoever else is there.
type leases struct {
	path  string
	slots map[string]int
}

func readLeases(path string) (l leases, err error) {
	l = leases{path: path, slots: map[string]int{}}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &l.slots)
	}
	if err != nil {
		return leases{path: path, slots: map[string]int{}}, fmt.Errorf("cannot read which machines have other addresses: %w", err)
	}
	return l, nil
}

// keep remembers the slot of a link; it is natural if nothing needs to be.
func (l leases) keep(link string, slot int, natural bool) error {
	had, kept := l.slots[link]
	if natural && !kept || kept && had == slot {
		return nil
	}
	l.slots[link] = slot
	if natural {
		delete(l.slots, link)
	}
	text, err := json.MarshalIndent(l.slots, "", "  ")
	if err == nil {
		if err = os.MkdirAll(filepath.Dir(l.path), 0o755); err == nil {
			err = wholefile.Write(l.path, append(text, '\n'), 0o644)
		}
	}
	return err
}
