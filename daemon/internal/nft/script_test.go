package nft_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/nft"
)

func script(t *testing.T, table *nft.Table, remove, add nft.Rules) string {
	t.Helper()
	text, err := table.Script(remove, add)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// What is shown does, fed to nft, what would be done.
func TestScriptDoesWhatChangeDoes(t *testing.T) {
	routed := everything()
	routed.Members, routed.Routers = nil, nil
	table := openTable(t)
	text := script(t, table, nft.Rules{}, routed)
	run(t, text, "-c", "-f", "-")
	if got := ruleset(t); got != "" {
		t.Fatalf("the table is there before it is made:\n%s", got)
	}
	change(t, table, nft.Rules{}, routed)
	want := ruleset(t)
	if err := table.Remove(); err != nil {
		t.Fatal(err)
	}
	run(t, text, "-f", "-")
	if diff := cmp.Diff(want, ruleset(t)); diff != "" {
		t.Errorf("the script makes something else (-change +script):\n%s", diff)
	}
	// The daemon takes it for its own.
	again := openTable(t)
	if mended, err := again.Reconcile(routed); err != nil || mended != nil {
		t.Errorf("mended %q, %v", mended, err)
	}

	more := nft.Rules{
		Links: []nft.Link{link("ve-v", "10.213.5.0/24", "fd00:5::/64")},
		Ports: []nft.Port{port(unix.IPPROTO_TCP, "", 8080, "10.213.5.2:80"), port(unix.IPPROTO_UDP, "10.1.1.1", 1, "10.213.5.2:80")},
	}
	less := nft.Rules{Links: routed.Links[:1], Ports: routed.Ports[:1], Inward: routed.Inward, Uplinks: routed.Uplinks}
	text = script(t, again, less, more)
	if strings.Contains(text, "chain") || strings.Count(text, "\n") != strings.Count(text, " element inet machd ") {
		t.Errorf("the script is more than the change:\n%s", text)
	}
	run(t, text, "-f", "-")
	want = ruleset(t)
	if mended, err := again.Reconcile(routed); err != nil || mended == nil {
		t.Fatalf("mended %q, %v", mended, err)
	}
	change(t, again, less, more)
	if diff := cmp.Diff(want, ruleset(t)); diff != "" {
		t.Errorf("the script does something else (-script +change):\n%s", diff)
	}
}

// The rules for bridges are shown as nft shows those that are there. Not every
// nft can read them again: the target of a solicitation has a name only since
// 1.0.9.
func TestScriptOfBridges(t *testing.T) {
	zoned := nft.Rules{Members: everything().Members, Routers: everything().Routers}
	table := openTable(t)
	text := script(t, table, nft.Rules{}, zoned)
	change(t, table, nft.Rules{}, zoned)
	listed := ruleset(t)
	older := strings.NewReplacer(
		"@th,64,128 & 0xffc00000000000000000000000000000 != 0xfe800000000000000000000000000000", "icmpv6 taddr != fe80::/10",
		"@th,64,128", "icmpv6 taddr")
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch first, _, _ := strings.Cut(line, " "); first {
		case "table", "chain", "}", "type", "set", "add":
		default:
			if !strings.Contains(older.Replace(listed), "\t"+line+"\n") {
				t.Errorf("%q is shown, but not there:\n%s", line, listed)
			}
		}
	}
	if out, err := exec.Command("nft", "--version").Output(); err != nil || strings.HasPrefix(string(out), "nftables v1.0.") {
		return
	}
	if err := table.Remove(); err != nil {
		t.Fatal(err)
	}
	run(t, text, "-f", "-")
	if diff := cmp.Diff(listed, ruleset(t)); diff != "" {
		t.Errorf("the script makes something else (-change +script):\n%s", diff)
	}
}

// What nft lists can be given back to it, as hosts do that keep their rules.
func TestListCanBeReadBack(t *testing.T) {
	table := openTable(t)
	change(t, table, nft.Rules{}, everything())
	want := run(t, "", "-s", "list", "table", "inet", "machd")
	run(t, "flush ruleset\n"+run(t, "", "list", "table", "inet", "machd"), "-f", "-")
	if diff := cmp.Diff(want, run(t, "", "-s", "list", "table", "inet", "machd")); diff != "" {
		t.Errorf("it is something else (-before +after):\n%s", diff)
	}
	routed := everything()
	routed.Members, routed.Routers = nil, nil
	if mended, err := table.Reconcile(routed); err != nil || mended != nil {
		t.Errorf("mended %q, %v", mended, err)
	}
}
