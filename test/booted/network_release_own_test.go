package booted

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/machd/machd/test/lan"
)

// releaseNetwork is what README.md says under "Go back".
const releaseNetwork = "/usr/libexec/machd --release-network"

// Who goes back to systemd-machined has his ports back when he says so, whether the
// machines have ended or not, and the doctor tells him how.
func TestMachdNetworkIsReleased(t *testing.T) {
	joinedNetwork(t)
	switches, rules := knobsAtRest(t), tables(t)
	ended, stays := startDweller(t, "left-ended", "-n", "-p", "8270:80"), startDweller(t, "left-stays", "-n", "-p", "8271:80")
	inside := stays.serve(t, 80)
	wantAnswer(t, here, "tcp", "127.0.0.1:8271", stays.name, stays.gate4)
	if o := observe(t, "sh", "-c", releaseNetwork); o.Code == 0 || !strings.Contains(o.Stderr, "systemctl disable --now machd.socket machd.service") {
		t.Errorf("while machd runs: exit status %d: %s", o.Code, o.Stderr)
	}
	wantAnswer(t, here, "tcp", "127.0.0.1:8271", stays.name, stays.gate4)
	useStock(t)
	run(t, "machinectl", "terminate", ended.name)
	eventually(t, "it has ended", func() error {
		if observe(t, "machinectl", "show", ended.name).Code == 0 {
			return errors.New("it is there")
		}
		return nil
	})
	server, err := net.Listen("tcp", "127.0.0.1:8270")
	must(t, err)
	defer server.Close()
	greeted := func() error {
		c, err := net.DialTimeout("tcp", "127.0.0.1:8270", moment)
		if err == nil {
			c.Close()
		}
		return err
	}
	if greeted() == nil {
		t.Error("the port of a machine that has ended leads to the host's program by itself")
	}
	wantAnswer(t, here, "tcp", "127.0.0.1:8271", stays.name, stays.gate4) // which nobody has told anything

	f := wantFound(t, diagnose(t), "leftover", "networks is still there")
	if f.Command != releaseNetwork {
		t.Errorf("the doctor names %q", f.Command)
	}
	run(t, "sh", "-ec", f.Command)
	if err := greeted(); err != nil {
		t.Errorf("the host's program does not have its port: %v", err)
	}
	wantAnswer(t, here, "tcp", at(stays.v4, 80), stays.name, stays.gate4) // by its link
	wantRefusal(t, here, at(lan.Host4, 8271))
	if out := run(t, "nft", "list", "tables"); strings.Contains(out, "machd") {
		t.Errorf("there is\n%s", out)
	}
	after := knobs(t)
	for path, value := range switches {
		if after[path] != value {
			t.Errorf("%s is %q, was %q", path, after[path], value)
		}
	}
	wantUnchanged(t, "tables of others", rules, tables(t))
	if left, _ := filepath.Glob("/run/machd/network/*"); len(left) > 0 {
		t.Errorf("left are %q", left)
	}
	for _, f := range diagnose(t) {
		if f.Check == "leftover" {
			t.Errorf("the doctor still says %+v", f)
		}
	}

	run(t, "ip", "link", "add", "vz-left", "type", "bridge") // of a zone that was killed
	t.Cleanup(func() { run(t, "ip", "link", "delete", "vz-left") })
	inside.Close()
	endDweller(t, stays.name)
	linksGone(t)
	run(t, "sh", "-ec", releaseNetwork) // once more does no harm
	if left, _ := filepath.Glob("/run/systemd/network/*-machd.network"); len(left) > 0 {
		t.Errorf("networkd is still kept off: %q", left)
	}
	useMachd(t)
	if _, err := os.Stat("/run/machd/network/switches"); err == nil {
		t.Error("without a machine something is switched on")
	}
	server.Close()
	startDweller(t, "left-again", "-n", "-p", "8270:80").wantNetwork(t)
}
