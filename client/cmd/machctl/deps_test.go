package main

import (
	"os/exec"
	"strings"
	"testing"
)

// The client is thin: what it must not need, and why.
var forbidden = map[string]string{
	"github.com/machd/machd/daemon":                       "the daemon is asked over the bus",
	"github.com/machd/machd/pkg/dbustest":                 "it is for tests",
	"github.com/machd/machd/client/internal/machine1test": "it is for tests",
	"github.com/vishvananda/netlink":                      "networks are the daemon's work",
	"github.com/google/nftables":                          "networks are the daemon's work",
	"github.com/coreos/go-systemd":                        "PID 1 is asked through pkg/bus, with the interactive flag",
	"testing":                                             "it is for tests",
}

func TestMachctlNeedsNothingOfTheDaemon(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-deps", ".").CombinedOutput()
	if err != nil {
		t.Fatalf("cannot list what machctl imports: %v: %s", err, out)
	}
	for dependency := range strings.FieldsSeq(string(out)) {
		for prefix, reason := range forbidden {
			if dependency == prefix || strings.HasPrefix(dependency, prefix+"/") {
				t.Errorf("machctl imports %s: %s", dependency, reason)
			}
		}
	}
}

func TestOnlyTheUserInterfacePrints(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("sh", "-c", `grep -lE 'fmt\.F?[Pp]rint(ln|f)?\((os|u)\.|fmt\.Print|os\.Std(out|err)\.|println\(' *.go | grep -v -e _test.go -e ui.go`).Output()
	if len(out) > 0 {
		t.Errorf("these print too (%v):\n%s", err, out)
	}
}
