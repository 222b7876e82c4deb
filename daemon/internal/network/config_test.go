package network

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
)

func TestTheAdministratorsChoices(t *testing.T) {
	for text, c := range map[string]struct {
		manage     bool
		pool, zone string
		told       string // what the log has
	}{
		"":                                  {true, "10.213.0.0/16", "10.214.0.0/16", ""},
		"[Network]\nManage=no\n":            {false, "10.213.0.0/16", "10.214.0.0/16", ""},
		"[Network]\nManage=perhaps\n":       {true, "10.213.0.0/16", "10.214.0.0/16", "Manage=perhaps"},
		"[Network]\nPool=10.7.0.0/20\n":     {true, "10.7.0.0/20", "10.214.0.0/16", ""},
		"[Network]\nZonePool=10.8.0.0/20\n": {true, "10.213.0.0/16", "10.8.0.0/20", ""},
		"[Network]\nPool=10.7.0.1/20\n":     {true, "10.213.0.0/16", "10.214.0.0/16", "first address"},
		"[Network]\nPool=10.0.0.0/8\n":      {true, "10.213.0.0/16", "10.214.0.0/16", "larger than can be used, which is /14"},
		"[Network]\nPool=10.7.0.0/31\n":     {true, "10.213.0.0/16", "10.214.0.0/16", "no room for a network of /30"},
		"[Network]\nZonePool=10.8.0.0/26\n": {true, "10.213.0.0/16", "10.214.0.0/16", "no room for a network of /24"},
		"[Network]\nPool=fd00::/48\n":       {true, "10.213.0.0/16", "10.214.0.0/16", "no IPv4 network"},
		"[Network]\nPool=everything\n":      {true, "10.213.0.0/16", "10.214.0.0/16", "it is no network"},
	} {
		path := t.TempDir() + "/network.conf"
		if text != "" {
			put(t, path, text)
		}
		var log bytes.Buffer
		got := readChoices(path, slog.New(slog.NewTextHandler(&log, nil)))
		if got.manage != c.manage || got.pools[0].whole != netip.MustParsePrefix(c.pool) || got.zones[0].whole != netip.MustParsePrefix(c.zone) {
			t.Errorf("%q is read as %+v", text, got)
		}
		if c.told == "" && log.Len() > 0 || !strings.Contains(log.String(), c.told) {
			t.Errorf("%q: the log has %q, want %q", text, log.String(), c.told)
		}
	}
}

// A daemon that is to manage nothing still does what somebody asks it for.
func TestNetworksAreLeftIfTheAdministratorSaysSo(t *testing.T) {
	l := newLab(t)
	l.write(l.paths.Config, "[Network]\nManage=no\n")
	l.restart()
	g := l.start("left")
	if s := l.status(g); s.Managed || len(s.Addresses) > 0 {
		t.Errorf("it has %+v", s)
	}
	l.end(g)
	l.write(l.paths.Settings[0]+"/asked.nspawn", "[X-Machd]\nAddress=10.7.7.1/24\n")
	g = l.start("asked")
	if s := l.status(g); !s.Managed || s.Addresses[0] != "10.7.7.1/24" || s.Gateways[0] != "10.7.7.2" {
		t.Errorf("it has %+v", s)
	}
	l.end(g)
}
