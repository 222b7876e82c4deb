package doctor

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/pkg/machd"
)

// Of what takes too long it is told that, and nobody waits for it.
func TestSlowCheck(t *testing.T) {
	t.Parallel()
	w := newFiles(t)
	v := w.doctor.newVisit()
	end := make(chan struct{})
	checks := []check[*visit]{
		{"slow", "", func(context.Context, *visit) ([]finding, bool) { <-end; return nil, true }},
		{"quick", "it is", func(context.Context, *visit) ([]finding, bool) { return nil, true }},
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	found := plain(run(ctx, v, &v.running, "", checks))
	close(end)
	v.running.Wait()
	wantFinding(t, found, "could not be checked in time")
	if len(found) != 2 || found[1].Level != machd.LevelOK {
		t.Errorf("found %+v", found)
	}
}

// Of machines for which no time is left there is one line each.
func TestTooManyMachines(t *testing.T) {
	t.Parallel()
	w := newFiles(t)
	for i := range 300 {
		w.machines = append(w.machines, machine.Machine{Name: fmt.Sprintf("m%d", i)})
	}
	v := w.doctor.newVisit()
	defer v.close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	late := 0
	for _, f := range v.everything(ctx) {
		if f.What == "there was no time left to look at it" {
			late++
		}
	}
	if late != 300 {
		t.Errorf("%d machines were not looked at, want 300", late)
	}
}

// Two diagnoses do not go on at a time, and whoever waits may give up.
func TestOneDiagnosisAtATime(t *testing.T) {
	t.Parallel()
	w := newFiles(t)
	<-w.doctor.busy
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := w.doctor.Diagnose(ctx, "", machd.DiagnoseOptions{}); err == nil {
		t.Error("a second one went on")
	}
	w.doctor.busy <- struct{}{}
	if _, err := w.doctor.Diagnose(t.Context(), "", machd.DiagnoseOptions{}); err != nil {
		t.Error(err)
	}
}
