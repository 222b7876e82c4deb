package launch

import (
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/pkg/nspawnfile"
)

// Network gives machines their networks.
type Network interface {
	// PlanNetwork works out what a machine's link will get. It changes nothing.
	PlanNetwork(r NetworkRequest) (NetworkPlan, error)
	// Release lets go of what a plan has reserved for a machine that has not
	// come. It does nothing about one that has.
	Release(name string) error
}

// A NetworkRequest is about the network of a machine that is to be started.
type NetworkRequest struct {
	Machine, Unit string
	Options       machd.NetworkOptions
	Kind          string           // of its link to the host: machd.LinkVeth and its like
	Shared        string           // the zone or bridge that the link is in
	Settings      *nspawnfile.File // the machine's, if it has some and they are believed
}

// A NetworkPlan is what a start does about a machine's network.
type NetworkPlan struct {
	Arguments []string       // of systemd-nspawn, instead of all there are about the network; nil leaves those
	Changes   []machd.Change // of the host, for a person
	Reserve   func() error   // keeps addresses and ports for the machine until it comes
}

// planNetwork plans the network of a container that has a link of its own to the
// host. Others have nothing that could be told.
func (l *Launcher) planNetwork(plan *Plan, p properties, root root) error {
	o := plan.Options.NetworkOptions
	needed := aboutLink(o)
	runs, _ := p[execStart].Value().([]command)
	if plan.VM || len(runs) != 1 || !runsNspawn(runs[0]) {
		return nil // options for it were refused before
	}
	if o.Network == networkHost || o.Network == networkNone {
		return nil // whatever settings say that are about to be changed
	}
	line, err := readCommandLine(runs[0].Argv)
	if err != nil {
		return nil // likewise
	}
	settings := findSettings(plan.Name, root)
	switch linked := hasLink(line, settings) || plan.Options.Save && wantsLink(o); {
	case len(needed) > 0 && !linked:
		return contradiction("Option '%s' is about a link of the machine's own, and it has none; option 'network' with veth gives it one", needed[0])
	case len(needed) > 0 && l.cfg.Network == nil:
		return machine1.Errorf(machine1.ErrNotSupported, "Option '%s' cannot be used: this daemon sets up no networks", needed[0])
	case !linked || l.cfg.Network == nil:
		return nil
	}
	var believed *nspawnfile.File
	if settings != nil && settings.trusted {
		believed = settings.file
	}
	r := NetworkRequest{Machine: plan.Name, Unit: plan.Unit, Options: o, Settings: believed}
	r.Kind, r.Shared = kindOf(linkOf(line, settings, o))
	network, err := l.cfg.Network.PlanNetwork(r)
	if err != nil {
		return err
	}
	plan.Network = &network
	if len(network.Arguments) == 0 || plan.Existing {
		return nil
	}
	given, _, err := readOptions(network.Arguments)
	if err != nil {
		return err
	}
	line.remove(func(a argument) bool { return a.group == groupNetwork })
	line.overrule(given, false, settings)
	runs[0].Argv = line.argv()
	p.set(execStart, runs)
	return nil
}

// hasLink reports whether the machine gets a link to the host that has but two
// ends, of which we know the host's.
func hasLink(line commandLine, s *settingsFile) bool {
	return wantsLink(linkOf(line, s, machd.NetworkOptions{}))
}

// linkOf returns what the machine's link will be by its command line and its
// settings, or by options that are to be saved in these.
func linkOf(line commandLine, s *settingsFile, saved machd.NetworkOptions) machd.NetworkOptions {
	if wantsLink(saved) {
		return saved
	}
	mode, _ := line.has("settings")
	if s.says(groupNetwork) && (mode.value == "override" || s.believedIn(mode.value) && !hasNetwork(line)) {
		return s.network()
	}
	var given machd.NetworkOptions
	for _, a := range line.options {
		switch a.name {
		case "network-veth":
			given.Network = networkVeth
		case "network-bridge":
			given.Bridge = a.value
		case "network-zone":
			given.Zone = a.value
		}
	}
	return given
}

// kindOf tells what systemd-nspawn makes of options for a link.
func kindOf(o machd.NetworkOptions) (kind, shared string) {
	switch {
	case o.Zone != "":
		return machd.LinkZone, o.Zone
	case o.Bridge != "":
		return machd.LinkBridge, o.Bridge
	}
	return machd.LinkVeth, ""
}

// believedIn reports whether systemd-nspawn heeds all that the file says if it
// is told --settings=mode.
func (s *settingsFile) believedIn(mode string) bool {
	switch mode {
	case "override", "trusted":
		return s != nil
	case "no", "false", "0":
		return false
	}
	return s != nil && s.trusted
}

// hasNetwork reports whether the command line decides about the network.
func hasNetwork(line commandLine) bool {
	for _, a := range line.options {
		if a.group == groupNetwork {
			return true
		}
	}
	return false
}

// network returns what the file says of it, as options. That a machine has the
// host's is for others to say.
func (s *settingsFile) network() (o machd.NetworkOptions) {
	words := func(key string) (all []string) {
		for _, value := range s.file.Values("Network", key) {
			list, _ := splitWords(value)
			all = append(all, list...)
		}
		return all
	}
	isSet := func(key string) bool {
		value, _ := s.file.Value("Network", key)
		yes, err := nspawnfile.ParseBool(value)
		return err == nil && yes
	}
	switch {
	case isSet("VirtualEthernet"):
		o.Network = networkVeth
	case isSet("Private"):
		o.Network = networkNone
	}
	o.Zone, _ = s.file.Value("Network", "Zone")
	o.Bridge, _ = s.file.Value("Network", "Bridge")
	o.VirtualEx, o.MACVLAN, o.IPVLAN, o.Interfaces = words("VirtualEthernetExtra"), words("MACVLAN"), words("IPVLAN"), words("Interface")
	return o
}
