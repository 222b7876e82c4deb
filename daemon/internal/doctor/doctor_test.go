package doctor

import (
	"testing"
	"time"

	"github.com/machd/machd/pkg/machd"
)

func TestAllIsWell(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	start := time.Now()
	found, err := w.doctor.Diagnose(t.Context(), "c1", machd.DiagnoseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(time.Since(start))
	for _, f := range found {
		t.Logf("%+v", f)
	}
	start = time.Now()
	found, err = w.doctor.Diagnose(t.Context(), "", machd.DiagnoseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(time.Since(start))
	for _, f := range found {
		t.Logf("%+v", f)
	}
}
