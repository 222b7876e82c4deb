package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/machd/machd/client/internal/machine1test"
)

// Ten thousand machines are listed like ten, and one that hangs among them is
// waited for by nobody.
func TestTenThousandMachinesAreListed(t *testing.T) {
	t.Parallel()
	const many = 10000
	w := machine1test.New(t)
	w.TellOverviews()
	w.StopMachined() // who would have to announce each
	for i := range many {
		w.Add(named(fmt.Sprintf("m%05d", i)))
	}
	if err := w.StartMachined(); err != nil {
		t.Fatal(err)
	}
	w.Hang("GetMachineOSRelease m05000")

	out, err := command(w, "list", "--no-legend").Output()
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if err != nil || len(lines) != many {
		t.Fatalf("%d lines, %v", len(lines), err)
	}
	if want := "m05000 container systemd-nspawn ?      ? 192.168.88.27…"; lines[5000] != want {
		t.Errorf("the line of the one that hangs is %q, want %q", lines[5000], want)
	}
	out, err = command(w, "list", "--json", "--sort=-name", "--columns=name").Output()
	var rows []struct{ Name string }
	if err != nil || json.Unmarshal(out, &rows) != nil || len(rows) != many || rows[0].Name != "m09999" {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}
