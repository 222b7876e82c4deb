package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// An event is one line of go test -json.
type event struct {
	Action, Package, ImportPath, Test, Output string
	Elapsed                                   float64
}

// A test names one test, top-level or not, of a package.
type test struct{ pkg, name string }

// top is the test that -run has to name to run t.
func (t test) top() string {
	name, _, _ := strings.Cut(t.name, "/")
	return name
}

// A tally counts tests and keeps what the later stages need of the earlier.
type tally struct {
	passed, failed int
	skipped        map[test]string // and what they said
	fuzz           map[test]bool
	failures       []failure
	forgiven       []failure // of tests that passed when they were run again
	flaky          int       // how many top-level tests that were
	running        map[test]bool
	took           map[test]float64 // seconds, of the tests of packages that have not ended
	timeUp         bool             // a fuzz target failed for no other reason
}

// A failure is a test that failed, and what it said.
type failure struct {
	name, output string
	id           test // none of what failed outside of a test
}

// shownLines is how much of what a failed test said is said again at the end.
// Its own words come last, after what programs in it wrote.
const shownLines = 30

func (f failure) String() string {
	lines := strings.Split(strings.TrimRight(f.output, "\n"), "\n")
	if more := len(lines) - shownLines; more > 0 {
		lines = append([]string{fmt.Sprintf("[%d lines above]", more)}, lines[more:]...)
	}
	if f.output == "" {
		return f.name
	}
	return f.name + "\n\t" + strings.Join(lines, "\n\t")
}

func newTally() *tally {
	return &tally{skipped: map[test]string{}, fuzz: map[test]bool{}, running: map[test]bool{}, took: map[test]float64{}}
}

// add counts what another tally has, but for skipped tests and fuzz targets.
func (t *tally) add(other *tally) {
	t.passed += other.passed
	t.failed += other.failed
	t.failures = append(t.failures, other.failures...)
}

// one counts a stage that is one test, and returns its error.
func (t *tally) one(name string, err error) error {
	if err != nil {
		t.fail(failure{name: name, output: err.Error()})
		return err
	}
	t.passed++
	return nil
}

func (t *tally) fail(f failure) {
	t.failed++
	t.failures = append(t.failures, f)
}

// read counts the events of one run of go test or testhost test, and prints
// a line per package and the output of what failed. label tells runs of the
// same package apart.
func (t *tally) read(r io.Reader, label string) error {
	output := map[test]string{}
	failedIn := map[string]int{}
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			t.readLine(line, label, output, failedIn)
		}
		if err == io.EOF {
			// A binary that gave up ends neither its tests nor its package.
			for _, id := range slices.SortedFunc(maps.Keys(output), byName) {
				fmt.Print(output[id])
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (t *tally) readLine(line []byte, label string, output map[test]string, failedIn map[string]int) {
	var e event
	if err := json.Unmarshal(line, &e); err != nil || e.Action == "" {
		os.Stdout.Write(line) // not of go test: a compiler, testhost
		return
	}
	id := test{e.Package, e.Test}
	switch {
	case e.Action == "build-output":
		fmt.Print(e.Output)
	case e.Action == "output":
		output[id] += e.Output
	case e.Action == "run":
		t.running[id] = true
	case e.Action != "pass" && e.Action != "fail" && e.Action != "skip":
		// start, pause, cont: nothing has ended
	case e.Test == "":
		t.endPackage(e, label, output[id], failedIn[e.Package])
		delete(output, id)
	default:
		t.endTest(e, label, output[id], failedIn)
		delete(output, id)
	}
}

func (t *tally) endTest(e event, label, output string, failedIn map[string]int) {
	id := test{e.Package, e.Test}
	delete(t.running, id)
	if id.top() == e.Test {
		t.took[id] = e.Elapsed
	}
	switch e.Action {
	case "pass":
		t.passed++
		delete(t.skipped, id)
		if strings.HasPrefix(e.Test, "Fuzz") && id.top() == e.Test {
			t.fuzz[id] = true
		}
	case "fail":
		failedIn[e.Package]++
		t.fail(failure{label + e.Package + " " + e.Test, output, id})
		t.timeUp = t.timeUp || timeIsUp(output)
		fmt.Print(output)
	case "skip":
		t.skipped[id] = strings.TrimSpace(output)
	}
}

// timeIsUp reports whether a fuzz target says that its time was up, and nothing
// else: what it finds it says, and keeps.
func timeIsUp(output string) bool {
	up := false
	for line := range strings.Lines(output) {
		switch text := strings.TrimSpace(line); {
		case text == "context deadline exceeded":
			up = true
		case !strings.HasPrefix(text, "=== RUN ") && !strings.HasPrefix(text, "fuzz: elapsed: ") && !strings.HasPrefix(text, "--- FAIL: Fuzz"):
			return false
		}
	}
	return up
}

// endPackage counts a package that failed outside of its tests: it does not
// compile, its TestMain gave up, or the program ended in the middle of one.
func (t *tally) endPackage(e event, label, output string, failedTests int) {
	defer t.tellSlow(e.Package)
	defer maps.DeleteFunc(t.running, func(id test, _ bool) bool { return id.pkg == e.Package })
	switch e.Action {
	case "pass":
		fmt.Printf("ok   %s%s %.1f s\n", label, e.Package, e.Elapsed)
	case "fail":
		fmt.Printf("%sFAIL %s%s\n", output, label, e.Package)
		for _, id := range slices.SortedFunc(maps.Keys(t.running), byName) {
			if id.pkg == e.Package {
				t.fail(failure{name: label + id.pkg + " " + id.name + " did not end"})
				failedTests++
			}
		}
		if failedTests == 0 {
			t.fail(failure{name: label + e.Package, output: output})
		}
	}
}

// slowTest is what a test may take without being told of, seconds.
const slowTest = 20

// tellSlow names the tests of a package that the whole waits for.
func (t *tally) tellSlow(pkg string) {
	slow := slices.SortedFunc(maps.Keys(t.took), func(a, b test) int { return cmp.Compare(t.took[b], t.took[a]) })
	for _, id := range slow {
		if id.pkg == pkg && t.took[id] >= slowTest {
			fmt.Printf("     %.0f s %s\n", t.took[id], id.name)
		}
	}
	maps.DeleteFunc(t.took, func(id test, _ float64) bool { return id.pkg == pkg })
}

// close prints the result and returns the exit status. A test that nobody ran
// is a failure where nobody reads along.
func (t *tally) close() int {
	fmt.Println()
	for _, f := range t.forgiven {
		fmt.Println("passed only when run again:", f)
	}
	for _, f := range t.failures {
		fmt.Println("failed:", f)
	}
	for _, id := range slices.SortedFunc(maps.Keys(t.skipped), byName) {
		fmt.Printf("skipped: %s %s\n\t%s\n", id.pkg, id.name, strings.ReplaceAll(t.skipped[id], "\n", "\n\t"))
	}
	if os.Getenv("CI") == "true" {
		t.failed += len(t.skipped)
		clear(t.skipped)
	}
	if len(t.skipped) > 0 {
		fmt.Printf("%d passed, %d failed, %d skipped\n", t.passed, t.failed, len(t.skipped))
	} else {
		fmt.Printf("%d passed, %d failed\n", t.passed, t.failed)
	}
	if t.failed > 0 {
		return 1
	}
	return 0
}

func byName(a, b test) int {
	return strings.Compare(a.pkg+" "+a.name, b.pkg+" "+b.name)
}
