package booted

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	contract "github.com/machd/machd/pkg/machd"
)

// notTheUnits is less than systemd-nspawn waits for an init that it has asked.
const notTheUnits = 45 * time.Second

// Whatever a machine's init does about signals, and however far it has come,
// terminate ends it without asking it, and nothing is left.
func TestMachdTerminatesAtOnce(t *testing.T) {
	w, c := watch(t), newClient(t)
	const deaf = "#!/bin/sh\ntrap '' INT TERM HUP QUIT USR1 USR2 PWR 37 38\n: >/run/deaf\nwhile :; do sleep 1; done\n"
	const asked = "#!/bin/sh\ntrap ': >/asked' INT TERM HUP PWR 37 38\n: >/run/deaf\nwhile :; do sleep 0.1; done\n"
	for _, g := range []struct {
		name, image, init string
		wait              string
	}{
		{"end-busybox", "tiny", "", ""},
		{"end-early", "tiny", "", "--wait=registered"},
		{"end-coming", "tiny", "", "--no-wait"},
		{"end-systemd", "c8-ns", "", ""},
		{"end-booting", "c8-ns", "", "--wait=registered"},
		{"end-deaf", "c8-ns", deaf, "--wait=registered"},
		{"end-asked", "c8-ns", asked, "--wait=registered"},
	} {
		t.Run(g.name, func(t *testing.T) {
			copyImage(t, g.image, g.name)
			if g.init != "" {
				replaceInit(t, g.name, g.init)
			}
			before, locks := traces(t, g.name), locksOfInodes(t)
			for _, policy := range []string{"no", "always"} {
				argv := []string{"machctl", "start", g.name, "--restart=" + policy}
				if g.wait != "" {
					argv = append(argv, g.wait)
				}
				run(t, argv...)
				if g.init != "" {
					root := filepath.Join("/proc", run(t, "machctl", "show", "-P", "Leader", g.name), "root")
					eventually(t, "it handles signals", func() error { _, err := os.Stat(root + "/run/deaf"); return err })
				}
				begin := time.Now()
				o := observe(t, "machctl", "terminate", g.name)
				took := time.Since(begin)
				t.Logf("restart=%s: it took %s", policy, took)
				if o.Code != 0 || o.Stderr != "" || took > notTheUnits {
					t.Errorf("restart=%s: after %s: %+v", policy, took, o)
				}
				if slices.Contains(w.list(t), g.name) {
					t.Error("it is still listed, or again")
				}
				if state := observe(t, "systemctl", "is-active", transientOf(g.name)).Stdout; strings.Contains(state, "activ") && !strings.HasPrefix(state, "inactive") {
					t.Errorf("its unit is %s", state)
				}
				wantNoTraces(t, before, g.name)
				if now := locksOfInodes(t); !slices.Equal(now, locks) {
					t.Errorf("the locks are %q, were %q", now, locks)
				}
			}
			if _, err := os.Stat(filepath.Join(guests, g.name, "asked")); err == nil {
				t.Error("its init was asked")
			}
			if how, err := c.TerminateAndWait(t.Context(), g.name, contract.TerminateOptions{}); err == nil {
				t.Errorf("there was something to end: %s", how)
			}
		})
	}
}

func locksOfInodes(t *testing.T) []string {
	t.Helper()
	locks, err := filepath.Glob("/run/systemd/nspawn/locks/inode-*")
	must(t, err)
	return locks
}

// Machines that no systemd-nspawn runs end as well, and all that is theirs.
func TestMachdTerminatesWhateverAMachineRunsIn(t *testing.T) {
	w, c := watch(t), newClient(t)
	const unit, stubborn = "end-stubborn.service", "/run/end-stubborn"
	run(t, "systemd-run", "-q", "--collect", "--slice=machine.slice", "--unit="+unit, "sh", "-c",
		"trap '' TERM; sh -c 'while :; do sleep 1; done' & touch "+stubborn+"; while :; do sleep 1; done")
	t.Cleanup(func() { observe(t, "systemctl", "kill", "--signal=KILL", unit) })
	eventually(t, "it ignores the signal", func() error { _, err := os.Stat(stubborn); return err })
	var pid int
	_, err := fmt.Sscan(run(t, "systemctl", "show", "-P", "MainPID", unit), &pid)
	must(t, err)
	register(t, w, "end-stubborn", process{unit, pid})
	startByHand(t, w, "end-scope")
	startTenants(t, w, "end-tenants")
	for _, name := range []string{"end-stubborn", "end-scope", "end-tenants-1"} {
		begin := time.Now()
		how, err := c.TerminateAndWait(t.Context(), name, contract.TerminateOptions{})
		took := time.Since(begin)
		t.Logf("%s: by %s in %s", name, how, took)
		if err != nil || took > notTheUnits {
			t.Errorf("%s: after %s it ended by %q, %v", name, took, how, err)
		}
		if slices.Contains(w.list(t), name) {
			t.Errorf("%s is still listed", name)
		}
	}
	for _, name := range []string{"end-tenants-0", "end-tenants-2"} {
		if !slices.Contains(w.list(t), name) {
			t.Errorf("%s has gone, too", name)
		}
	}
}
