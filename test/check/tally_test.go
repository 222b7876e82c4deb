package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTally(t *testing.T) {
	t.Parallel()
	const a, b = `"Package":"a"`, `"Package":"b"`
	for name, c := range map[string]struct {
		events         []string
		passed, failed int
		skipped        map[test]string
	}{
		"a passed test, its subtest and its package": {
			events: []string{`{"Action":"pass",` + a + `,"Test":"T/s"}`, `{"Action":"pass",` + a + `,"Test":"T"}`, `{"Action":"pass",` + a + `}`},
			passed: 2,
		},
		"the package of a failed test is no second failure": {
			events: []string{`{"Action":"fail",` + a + `,"Test":"T"}`, `{"Action":"fail",` + a + `}`},
			failed: 1,
		},
		"a package that does not compile is a failure": {
			events: []string{`{"ImportPath":"a","Action":"build-output","Output":""}`, `{"Action":"fail",` + a + `,"FailedBuild":"a"}`},
			failed: 1,
		},
		"a skipped test that runs later has passed": {
			events: []string{`{"Action":"skip",` + a + `,"Test":"T"}`, `{"Action":"pass",` + a + `,"Test":"T"}`},
			passed: 1,
		},
		"a skipped test keeps its reason": {
			events: []string{`{"Action":"output",` + b + `,"Test":"T","Output":" no root\n"}`, `{"Action":"skip",` + b + `,"Test":"T"}`},
			skipped: map[test]string{
				{"b", "T"}: "no root",
			},
		},
		"the reason given before a pause is kept": {
			events: []string{`{"Action":"output",` + b + `,"Test":"T","Output":" no root\n"}`, `{"Action":"pause",` + b + `,"Test":"T"}`,
				`{"Action":"skip",` + b + `,"Test":"T"}`},
			skipped: map[test]string{
				{"b", "T"}: "no root",
			},
		},
		"what is no event is passed on": {events: []string{"testhost: hello"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := newTally()
			if err := got.read(strings.NewReader(strings.Join(c.events, "\n")), ""); err != nil {
				t.Fatal(err)
			}
			if got.passed != c.passed || got.failed != c.failed {
				t.Errorf("got %d passed, %d failed, want %d and %d", got.passed, got.failed, c.passed, c.failed)
			}
			if len(got.skipped)+len(c.skipped) > 0 {
				if diff := cmp.Diff(c.skipped, got.skipped, cmp.AllowUnexported(test{})); diff != "" {
					t.Errorf("skipped (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestTimeIsUp(t *testing.T) {
	t.Parallel()
	const before = "=== RUN   FuzzX\nfuzz: elapsed: 3s, execs: 41794 (0/sec), new interesting: 10 (total: 73)\n--- FAIL: FuzzX (3.09s)\n"
	for said, want := range map[string]bool{
		before + "    context deadline exceeded\n":                                                          true,
		before + "    --- FAIL: FuzzX (0.00s)\n        x_test.go:7: context deadline exceeded\n":            false,
		before + "    context deadline exceeded\n    Failing input written to testdata/fuzz/FuzzX/582528\n": false,
		before: false,
		"":     false,
	} {
		if got := timeIsUp(said); got != want {
			t.Errorf("got %t for\n%s", got, said)
		}
	}
}

// What failed is said once more at the end, for whoever reads no more than that.
func TestFailuresSayWhatTheySaid(t *testing.T) {
	t.Parallel()
	got := newTally()
	var events strings.Builder
	for i := range shownLines + 5 {
		fmt.Fprintf(&events, `{"Action":"output","Package":"a","Test":"T","Output":"line %d\n"}`+"\n", i)
	}
	events.WriteString(`{"Action":"fail","Package":"a","Test":"T"}` + "\n")
	if err := got.read(strings.NewReader(events.String()), "x "); err != nil {
		t.Fatal(err)
	}
	if len(got.failures) != 1 {
		t.Fatalf("failures %v", got.failures)
	}
	text := got.failures[0].String()
	for _, want := range []string{"x a T\n\t[5 lines above]\n\tline 5\n", "\n\tline 34"} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q in:\n%s", want, text)
		}
	}
	if strings.Contains(text, "line 4\n") {
		t.Errorf("it says more than its end:\n%s", text)
	}
}
