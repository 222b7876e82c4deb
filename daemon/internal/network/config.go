package network

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/machd/machd/pkg/nspawnfile"
)

// Paths are where the network of machines is written down.
type Paths struct {
	Config    string   // the administrator's choices, /etc/machd/network.conf
	Run       string   // records of the networks there are; gone with the boot
	Leases    string   // which machines have other addresses than theirs by nature
	Settings  []string // directories with .nspawn files that are root's
	MachineID string   // of the host
	Networkd  []string // directories with .network files, the first wins
	Ours      string   // the one of those that we write to
	Stock     string   // the one with systemd's own
	NM        string   // NetworkManager's run-time configuration, a directory
	Resolv    string   // the host's resolv.conf
}

// SystemPaths are those of the system's daemon.
func SystemPaths() Paths {
	return Paths{
		Config:    "/etc/machd/network.conf",
		Run:       "/run/machd/network",
		Leases:    "/var/lib/machd/addresses",
		Settings:  []string{"/etc/systemd/nspawn", "/run/systemd/nspawn"},
		MachineID: "/etc/machine-id",
		Networkd:  []string{"/etc/systemd/network", "/run/systemd/network", "/usr/local/lib/systemd/network"},
		Ours:      "/run/systemd/network",
		Stock:     "/usr/lib/systemd/network",
		NM:        "/run/NetworkManager/conf.d",
		Resolv:    "/etc/resolv.conf",
	}
}

// choices are the administrator's, for all machines.
type choices struct {
	manage       bool
	pools, zones []pool
}

// readChoices reads network.conf. What makes no sense in it is told, and as if
// it were not there.
func readChoices(path string, log *slog.Logger) choices {
	c := choices{manage: true, pools: pools4, zones: zonePools4}
	text, err := os.ReadFile(path)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			log.Warn("The settings of the network cannot be read.", "path", path, "error", err)
		}
		return c
	}
	f := nspawnfile.Parse(string(text))
	tell := func(key, value string, err error) {
		log.Warn(fmt.Sprintf("%s: %s=%s is passed over: %v", path, key, value, err))
	}
	if value, ok := f.Value("Network", "Manage"); ok {
		if c.manage, err = nspawnfile.ParseBool(value); err != nil {
			c.manage = true
			tell("Manage", value, err)
		}
	}
	for key, to := range map[string]*[]pool{"Pool": &c.pools, "ZonePool": &c.zones} {
		value, ok := f.Value("Network", key)
		if !ok {
			continue
		}
		p, err := parsePool(value, (*to)[0].bits)
		if err != nil {
			tell(key, value, err)
			continue
		}
		*to = []pool{p}
	}
	return c
}

func parsePool(text string, bits int) (pool, error) {
	whole, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return pool{}, fmt.Errorf("it is no network, as 10.213.0.0/16 is")
	case !whole.Addr().Is4() || whole.Masked() != whole:
		return pool{}, fmt.Errorf("it is no IPv4 network by its first address")
	case whole.Bits() > bits:
		return pool{}, fmt.Errorf("it has no room for a network of /%d", bits)
	case bits-whole.Bits() > 16:
		return pool{}, fmt.Errorf("it is larger than can be used, which is /%d", bits-16)
	}
	return pool{whole, bits}, nil
}

// machines are those that have settings.
func (p Paths) machines() (names []string) {
	for _, dir := range p.Settings {
		paths, _ := filepath.Glob(dir + "/*.nspawn")
		for _, path := range paths {
			names = append(names, strings.TrimSuffix(filepath.Base(path), ".nspawn"))
		}
	}
	return names
}

// settings returns the .nspawn file of a machine that root wrote, or nil. Others,
// beside an image, may not open ports of the host.
func (p Paths) settings(machine string) (*nspawnfile.File, error) {
	for _, dir := range p.Settings {
		text, err := os.ReadFile(dir + "/" + machine + ".nspawn")
		if err == nil {
			return nspawnfile.Parse(string(text)), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("cannot read the settings of %s: %w", machine, err)
		}
	}
	return nil, nil
}
