package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/machd/machd/client/internal/machine1test"
)

// crowd returns a world with more machines than a screen has lines.
func crowd(t *testing.T) *machine1test.World {
	t.Helper()
	w := machine1test.New(t)
	for i := range 40 {
		m := machine1test.C8NS()
		m.Name = fmt.Sprintf("m%02d", i)
		w.Add(m)
	}
	return w
}

// pagerThatTells writes a pager that shows what it is given between marks.
func pagerThatTells(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tell")
	script := "#!/bin/sh\necho \"<$LESS,$LESSSECURE>\"\ncat\necho '<end>'\n"
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLongOutputGoesThroughAPager(t *testing.T) {
	t.Parallel()
	w := crowd(t)
	pager := pagerThatTells(t)

	tm := runOnTerminal(t, w, 80, "SYSTEMD_PAGER="+pager, "PAGER=false", "list")
	tm.await("<end>")
	tm.exits(0)
	for _, want := range []string{"<FRSXMK,>", "m00", "m39", "40 machines listed."} {
		if !strings.Contains(tm.text(), want) {
			t.Errorf("%q is not on the screen: %q", want, tm.text())
		}
	}

	for name, args := range map[string][]string{
		"not wanted":   {"SYSTEMD_PAGER=" + pager, "list", "--no-pager"},
		"empty":        {"SYSTEMD_PAGER=", "PAGER=" + pager, "list"},
		"cat":          {"PAGER=cat", "list"},
		"a dumb one":   {"TERM=dumb", "PAGER=" + pager, "list"},
		"none at all":  {"TERM=", "PAGER=" + pager, "list"},
		"short output": {"PAGER=" + pager, "list", "--filter", "name=m0?"},
		"missing":      {"PAGER=/nonexistent", "list"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tm := runOnTerminal(t, w, 80, args...)
			tm.exits(0)
			tm.await("listed.")
			if strings.Contains(tm.text(), "<end>") {
				t.Errorf("a pager was run: %q", tm.text())
			}
		})
	}
}

// Somebody else's rights are not for what his pager can do.
func TestAPagerOfTheEnvironmentDoesNotGetOtherRights(t *testing.T) {
	t.Parallel()
	w := crowd(t)
	pager := pagerThatTells(t)
	dir := filepath.Dir(pager)
	if err := os.Rename(pager, filepath.Join(dir, "pager")); err != nil {
		t.Fatal(err)
	}
	tm := runOnTerminal(t, w, 80, "SUDO_UID=1000", "PAGER=false", "PATH="+dir+":"+os.Getenv("PATH"), "list")
	tm.await("<end>")
	tm.exits(0)
	if !strings.Contains(tm.text(), "<FRSXMK,1>") {
		t.Errorf("the pager was not told to be secure: %q", tm.text())
	}
}

// A pager that is left early is no failure.
func TestWhoLeavesThePagerHasSeenEnough(t *testing.T) {
	t.Parallel()
	tm := runOnTerminal(t, crowd(t), 80, "PAGER=true", "list")
	tm.exits(0)
	if strings.Contains(tm.text(), "machctl:") {
		t.Errorf("the screen shows %q", tm.text())
	}
}
