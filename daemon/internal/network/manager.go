package network

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/machd/machd/daemon/internal/link"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/nft"
	"github.com/machd/machd/daemon/internal/responder"
)

// Config is what a Manager stands on.
type Config struct {
	Paths    Paths
	Guests   Guests // nil to leave their files alone
	Machines func() View
	// Active tells whether a unit of the host's runs, Reload has a service on the
	// host's bus read its files again. Both may take a moment, and no longer.
	Active func(ctx context.Context, unit string) (bool, error)
	Reload func(ctx context.Context, service string)
	// Changed is told of a machine whose ports are others now. It does not block.
	Changed func(machine string)
	Log     *slog.Logger
}

// A View is which machines there are at one moment; *machine.View is.
type View interface {
	Get(name string) (machine.Machine, bool)
	All() iter.Seq[machine.Machine]
}

// A Manager gives machines their networks. It is safe for concurrent use.
type Manager struct {
	cfg     Config
	choices choices
	records store
	host    *link.Space
	site    netip.Prefix // of the host's IPv6 networks
	outside *outside
	others  *others

	upstream func() []netip.AddrPort // name servers of the host

	// order is held while links, rules and switches of the host change. It is
	// never held while a machine's files are touched.
	order   sync.Mutex
	rules   *nft.Table // nil until there is one
	forward *link.Forwarder
	guarded []nft.Uplink // links that forward for us alone

	unsettled chan struct{} // holds one while units have to be asked after
	disk      sync.Mutex    // over the records

	mu       sync.Mutex // over what follows, and never held for a change
	networks map[string]*network
	claims   claims
	links    map[place]*service
	leases   leases
}

// New returns a manager that knows no network yet.
func New(cfg Config) (*Manager, error) {
	if err := os.MkdirAll(cfg.Paths.Run, 0o755); err != nil {
		return nil, fmt.Errorf("cannot make the directory of networks: %w", err)
	}
	host, err := link.Host()
	if err != nil {
		return nil, fmt.Errorf("cannot reach the kernel's network: %w", err)
	}
	id, err := os.ReadFile(cfg.Paths.MachineID)
	if err != nil {
		cfg.Log.Warn("The host has no ID; IPv6 networks of its machines are everybody's.", "error", err)
	}
	m := &Manager{
		cfg:      cfg,
		choices:  readChoices(cfg.Paths.Config, cfg.Log),
		records:  store(cfg.Paths.Run),
		host:     host,
		site:     uniqueLocal(strings.TrimSpace(string(id))),
		networks: map[string]*network{},
		claims:   claims{},
		links:    map[place]*service{},

		unsettled: make(chan struct{}, 1),
	}
	if m.leases, err = readLeases(cfg.Paths.Leases); err != nil {
		cfg.Log.Warn("Machines may get other addresses than before.", "error", err)
	}
	m.outside = &outside{host: host}
	m.upstream = responder.Upstreams(cfg.Paths.Resolv)
	m.others = &others{paths: cfg.Paths, active: cfg.Active, reload: cfg.Reload, log: cfg.Log}
	if m.forward, err = link.NewForwarder(host, m.switches(), isOurs, m.guardUplinks); err != nil {
		return nil, err
	}
	return m, nil
}

// of returns the network of a machine, or nil.
func (m *Manager) of(name string) *network {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.networks[name]
}

// all returns the networks there are, by the names of their machines.
func (m *Manager) all() []*network {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []*network
	for _, name := range slices.Sorted(maps.Keys(m.networks)) {
		list = append(list, m.networks[name])
	}
	return list
}

// put takes note of what n has become. A network is a value that is replaced as a
// whole: whoever has got one may read it.
func (m *Manager) put(n *network) error {
	m.mu.Lock()
	m.set(n.Machine, n)
	m.mu.Unlock()
	return m.writeDown(n.Machine)
}

// writeDown makes the record of a machine's network what that is by now, however
// many change it at once.
func (m *Manager) writeDown(machine string) error {
	m.disk.Lock()
	defer m.disk.Unlock()
	if n := m.of(machine); n != nil {
		return m.records.save(n)
	}
	return m.records.remove(machine)
}

// set makes n, or nil, the network of a machine. One that the machine could not
// have takes no ports from others. m.mu is held.
func (m *Manager) set(machine string, n *network) {
	before := m.networks[machine]
	if before != nil {
		m.claims.remove(machine, before.Ports.ports())
	}
	delete(m.networks, machine)
	if n != nil {
		m.networks[machine] = n
		if n.ours() {
			m.claims.add(machine, n.Ports.ports())
		}
	}
}

// drop forgets a network, unless it is another one by now.
func (m *Manager) drop(n *network) error {
	m.mu.Lock()
	if m.networks[n.Machine] != n {
		m.mu.Unlock()
		return nil
	}
	m.set(n.Machine, nil)
	m.mu.Unlock()
	if !m.choices.manage && n.ours() {
		m.keepOthersOff(context.Background())
	}
	return m.writeDown(n.Machine)
}

// table returns the table of rules. m.order is held. The error says why there
// is none: without it a machine and the host reach each other, and that is all.
func (m *Manager) table() (*nft.Table, error) {
	if m.rules != nil {
		return m.rules, nil
	}
	var err error
	m.rules, err = nft.Open(m.cfg.Log)
	return m.rules, err
}
