package launch

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// networks plans one network for everybody, and keeps a list of what it was
// asked together with PID 1.
type networks struct {
	*pid1
	arguments []string
	refuses   error // what planning says
	taken     error // what reserving says
}

func (n *networks) PlanNetwork(r NetworkRequest) (NetworkPlan, error) {
	n.note("plan network of %s %s %v", r.Machine, strings.Join(r.Options.Addresses, " "), r.Settings != nil)
	return NetworkPlan{
		Arguments: n.arguments,
		Changes:   []machd.Change{{Kind: "address", Name: "host0", To: "10.0.0.2/30"}},
		Reserve:   n.reserve,
	}, n.refuses
}

func (n *networks) reserve() error {
	n.note("reserve")
	return n.taken
}

func (n *networks) Release(name string) error {
	n.note("release %s", name)
	return nil
}

// newNetworkPlanner is newPlanner with networks.
func newNetworkPlanner(t *testing.T, more map[string]any) (*Launcher, *networks) {
	t.Helper()
	l := newPlanner(t, stockUnit(more))
	n := &networks{pid1: &pid1{}}
	l.cfg.Network = n
	return l, n
}

func TestANetworkIsPlannedForALinkToTheHost(t *testing.T) {
	t.Parallel()
	const without = "systemd-nspawn --quiet --boot -U --settings=override --machine=m"
	for what, c := range map[string]struct {
		line    string // of the template; "" for the stock one's
		options machd.NetworkOptions
		planned bool
	}{
		"the template's":               {"", machd.NetworkOptions{}, true},
		"a zone":                       {without, machd.NetworkOptions{Zone: "z"}, true},
		"one of its own":               {without, machd.NetworkOptions{Network: "veth"}, true},
		"the template has none":        {without, machd.NetworkOptions{}, false},
		"none is wanted":               {"", machd.NetworkOptions{Network: "none"}, false},
		"the host's":                   {"", machd.NetworkOptions{Network: "host"}, false},
		"a link of the host's besides": {"", machd.NetworkOptions{MACVLAN: []string{"lo"}}, true},
		"a link of the host's alone":   {"", machd.NetworkOptions{Network: "none", MACVLAN: []string{"lo"}}, false},
	} {
		more := map[string]any{}
		if c.line != "" {
			more["ExecStartEx"] = []any{[]any{"systemd-nspawn", strings.Fields(c.line), []string{}}}
		}
		l, n := newNetworkPlanner(t, more)
		plan, err := l.Plan(t.Context(), "m", machd.StartOptions{NetworkOptions: c.options})
		if err != nil || (plan.Network != nil) != c.planned || (len(n.asked) > 0) != c.planned {
			t.Errorf("%s: %+v, %v, asked %q", what, plan.Network, err, n.asked)
		}
		changes, err := l.Changes(t.Context(), plan)
		told := slices.Contains(changes, machd.Change{Kind: "address", Name: "host0", To: "10.0.0.2/30"})
		if err != nil || told != c.planned {
			t.Errorf("%s: changes %v, %v", what, changes, err)
		}
	}
}

// Settings beside the image are not hidden by others, not even for a start that
// contradicts them.
func TestNothingIsPlannedThatHidesSettings(t *testing.T) {
	t.Parallel()
	for _, network := range []string{networkHost, networkNone} {
		l, n := newNetworkPlanner(t, nil)
		i, err := l.cfg.Images.Get(t.Context(), "m")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(i.Path+".nspawn", []byte("[Network]\nVirtualEthernet=yes\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		o := machd.StartOptions{Save: true, NetworkOptions: machd.NetworkOptions{Network: network}}
		if plan, err := l.Plan(t.Context(), "m", o); !errors.Is(err, machine1.ErrNotSupported) || plan.Network != nil || len(n.asked) > 0 {
			t.Errorf("%s: %+v, %v, asked %q", network, plan.Network, err, n.asked)
		}
	}
}

// Those of an administrator's own unit are planned too, and his unit stays as
// it is.
func TestTheNetworkOfAnAdministratorsUnit(t *testing.T) {
	t.Parallel()
	l, n := newNetworkPlanner(t, map[string]any{"UnitFileState": "enabled"})
	n.arguments = []string{"--network-zone=other"}
	plan, err := l.Plan(t.Context(), "m", machd.StartOptions{})
	if err != nil || !plan.Existing || plan.Network == nil || plan.Properties != nil {
		t.Errorf("%+v, %v", plan, err)
	}
}

func TestANetworkMayHaveArguments(t *testing.T) {
	t.Parallel()
	l, n := newNetworkPlanner(t, nil)
	n.arguments = []string{"--network-bridge=vz-z"}
	plan, err := l.Plan(t.Context(), "m", machd.StartOptions{NetworkOptions: machd.NetworkOptions{Zone: "z"}})
	if err != nil {
		t.Fatal(err)
	}
	run, _ := valueOf(plan, "ExecStartEx").([]command)
	var about []string
	for _, word := range run[0].Argv {
		if strings.HasPrefix(word, "--network") {
			about = append(about, word)
		}
	}
	if diff := cmp.Diff(n.arguments, about); diff != "" {
		t.Errorf("it runs %q (-want +got):\n%s", run[0].Argv, diff)
	}
}

func TestANetworkThatCannotBe(t *testing.T) {
	t.Parallel()
	full := machine1.Errorf(machine1.ErrInvalidArgs, "no network is left")
	address := machd.NetworkOptions{Addresses: []string{"10.0.0.2/30"}}
	l, n := newNetworkPlanner(t, nil)
	n.refuses = full
	if _, err := l.Plan(t.Context(), "m", machd.StartOptions{NetworkOptions: address}); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
	l.cfg.Network = nil
	if _, err := l.Plan(t.Context(), "m", machd.StartOptions{NetworkOptions: address}); !errors.Is(err, machine1.ErrNotSupported) {
		t.Errorf("without anybody who sets up networks: %v", err)
	}
	if plan, err := l.Plan(t.Context(), "m", machd.StartOptions{NetworkOptions: machd.NetworkOptions{Zone: "z"}}); err != nil || plan.Network != nil {
		t.Errorf("without anybody who sets up networks: %+v, %v", plan.Network, err)
	}
	line := []any{[]any{"systemd-nspawn", []string{"systemd-nspawn", "--boot", "--machine=m"}, []string{}}}
	l, _ = newNetworkPlanner(t, map[string]any{"ExecStartEx": line})
	_, err := l.Plan(t.Context(), "m", machd.StartOptions{NetworkOptions: address})
	if !errors.Is(err, machine1.ErrInvalidArgs) || !strings.Contains(err.Error(), "'network' with veth gives it one") {
		t.Errorf("an address and no link: %v", err)
	}
}

// What a start reserves is there before its unit, and let go after it.
func TestWhatAStartReserves(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		taken error
		job   string
		want  []string
	}{
		"is kept if it succeeds": {nil, "done", []string{"reserve", "start " + itsUnit, "let go of " + itsUnit}},
		"is let go if it fails": {nil, "failed",
			[]string{"reserve", "start " + itsUnit, "stop " + itsUnit, "reset " + itsUnit, "release db", "let go of " + itsUnit}},
		"may be taken": {fmt.Errorf("port 80 is taken"), "", []string{"reserve", "release db"}},
	} {
		w := newWorld(t)
		n := &networks{pid1: w.pid1, taken: c.taken}
		w.network = n
		w.restart(t, t.TempDir())
		p := planned(name)
		p.Network = &NetworkPlan{Reserve: n.reserve}
		s := w.begin(p, machd.StartOptions{Wait: machd.WaitReady})
		w.pid1.result <- c.job
		if c.job == "done" {
			w.register(t, name)
		}
		_, err := s.await(within(t), machd.WaitReady)
		if (err == nil) != (c.job == "done") || c.taken != nil && !strings.Contains(err.Error(), c.taken.Error()) {
			t.Errorf("%s: %v", what, err)
		}
		w.wantLeft(t, s, c.want...)
	}
}

// The daemon that comes next lets it go as well.
func TestNextDaemonReleasesNetworks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.network = &networks{pid1: w.pid1}
	dir := t.TempDir()
	r := record{Name: name, Unit: itsUnit, Since: time.Now(), Network: true, Asked: true, Held: true}
	if err := r.save(dir); err != nil {
		t.Fatal(err)
	}
	w.restart(t, dir)
	<-w.starts.ready
	w.awaitTold(t, 1)
	w.stop()
	if got := w.took(); !slices.Contains(got, "release db") {
		t.Errorf("it did %q", got)
	}
}
