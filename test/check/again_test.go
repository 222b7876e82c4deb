package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	failsOnce = `{"Action":"fail","Package":"p","Test":"T/s"}` + "\n" + `{"Action":"fail","Package":"p","Test":"T"}` + "\n" + `{"Action":"pass","Package":"p","Test":"U"}`
	passes    = `{"Action":"pass","Package":"p","Test":"T/s"}` + "\n" + `{"Action":"pass","Package":"p","Test":"T"}`
)

// said returns a command that prints events, and fails as go test does where one
// of them tells of a failure.
func said(t *testing.T, events string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "events")
	if err := os.WriteFile(file, []byte(events+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"sh", "-c", `cat "$1"; ! grep -q '"Action":"fail"' "$1"`, "sh", file}
}

func TestWhatFailedRunsOnceMore(t *testing.T) {
	t.Parallel()
	var others []string
	for i := range flakyLimit + 1 {
		others = append(others, fmt.Sprintf(`{"Action":"fail","Package":"p","Test":"T%d"}`, i))
	}
	for name, c := range map[string]struct {
		first, second  string
		wanted         string // of the tests that run again
		passed, failed int
	}{
		"passes then":          {failsOnce, passes, "T", 3, 0},
		"fails twice":          {failsOnce, failsOnce, "T", 1, 2},
		"is skipped then":      {failsOnce, `{"Action":"skip","Package":"p","Test":"T"}`, "T", 1, 2},
		"does not run then":    {failsOnce, `{"Action":"pass","Package":"p"}`, "T", 1, 2},
		"too many":             {strings.Join(others, "\n"), passes, "", 0, len(others)},
		"a data race":          {`{"Action":"output","Package":"p","Test":"T","Output":"testing.go:1: race detected during execution of test\n"}` + "\n" + failsOnce, passes, "", 1, 2},
		"a panic":              {`{"Action":"output","Package":"p","Test":"T","Output":"panic: x\n"}` + "\n" + failsOnce, passes, "", 1, 2},
		"outside of a test":    {`{"Action":"fail","Package":"p"}`, passes, "", 0, 1},
		"the program ended":    {failsOnce + "\n" + `{"Action":"run","Package":"p","Test":"V"}` + "\n" + `{"Action":"fail","Package":"p"}`, passes, "", 1, 3},
		"nothing failed":       {passes, passes, "", 2, 0},
		"a package beside one": {failsOnce + "\n" + `{"Action":"fail","Package":"q"}`, passes, "", 1, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, wanted := newTally(), ""
			again := func(pkg string, names []string) []string {
				wanted += strings.Join(names, " ")
				return said(t, c.second)
			}
			err := got.streamAgain(t.Context(), again, "", said(t, c.first)...)
			if got.passed != c.passed || got.failed != c.failed || wanted != c.wanted || (err == nil) != (c.failed == 0) {
				t.Errorf("%d passed, %d failed, error %v, %q again; want %d, %d, and %q", got.passed, got.failed, err, wanted, c.passed, c.failed, c.wanted)
			}
			if len(got.failures) != c.failed {
				t.Errorf("tells of %v, want %d", got.failures, c.failed)
			}
		})
	}
}

// A few in the whole run, not in each of its stages, and each is told.
func TestFlakyTestsAreLimitedAndTold(t *testing.T) {
	t.Parallel()
	got := newTally()
	again := func(string, []string) []string { return said(t, passes) }
	for i := range flakyLimit + 1 {
		err := got.streamAgain(t.Context(), again, "", said(t, failsOnce)...)
		if want := i < flakyLimit; (err == nil) != want || len(got.forgiven) != 2*min(i+1, flakyLimit) {
			t.Errorf("stage %d: %v, %d forgiven", i, err, len(got.forgiven))
		}
	}
	if got.failed != 2 {
		t.Errorf("%d failed, want 2", got.failed)
	}
}
