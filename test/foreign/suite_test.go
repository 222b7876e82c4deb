package foreign

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/machd/machd/test/live"
)

const (
	suites = "/usr/lib/systemd/tests/testdata/units"
	// suiteTime is far more than a suite takes; a step that fails may wait for 30 s.
	suiteTime = 8 * time.Minute
)

// goesOn is read by bash before the script ($BASH_ENV). systemd's tests end at
// the first command that fails; here its line is written down and the script
// goes on. The script itself stays as it was shipped: its "set -eux" is a call
// of this function. Functions and subshells do not inherit the trap, so that a
// command counts once; "(! command)" is a command that fails by succeeding.
const goesOn = `unset BASH_ENV
set() {
  case ${1-} in
  -eux) builtin set -x ;;
  *) builtin set "$@" ;;
  esac
}
PS4='+ ${BASH_SOURCE##*/}:$LINENO: '
trap 'echo $LINENO >>"$FAILED_LINES"; echo "` + failedHere + ` $LINENO" >&2' ERR
`

const failedHere = "=== failed: line"

// A suite is one run of one of systemd's own tests.
type suite struct {
	name   string
	lines  []string // the script
	failed []int    // numbers of the lines that failed, in order, each once
	trace  []string // what it wrote
}

// runSuite runs a script of systemd's tests to its end.
func runSuite(t *testing.T, name string) *suite {
	t.Helper()
	dir := t.TempDir()
	script, environment, failed := filepath.Join(suites, name), filepath.Join(dir, "environment"), filepath.Join(dir, "failed")
	live.Must(t, errors.Join(os.WriteFile(environment, []byte(goesOn), 0o644), os.WriteFile(failed, nil, 0o644)))
	// A file, not a pipe: a container that outlives the script would keep a pipe open.
	output, err := os.Create(filepath.Join(dir, "trace"))
	live.Must(t, err)
	defer output.Close()

	ctx, cancel := context.WithTimeout(t.Context(), suiteTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", script)
	cmd.Env = append(os.Environ(), "BASH_ENV="+environment, "FAILED_LINES="+failed)
	cmd.Stdout, cmd.Stderr = output, output
	var status *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &status) {
		t.Fatal(err)
	}
	s := &suite{name: name, lines: readLines(t, script), trace: readLines(t, output.Name())}
	for _, line := range readLines(t, failed) {
		number, err := strconv.Atoi(line)
		live.Must(t, err)
		if !slices.Contains(s.failed, number) {
			s.failed = append(s.failed, number)
		}
	}
	s.wantEnd(t)
	return s
}

func readLines(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	live.Must(t, err)
	if len(data) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
}

// wantEnd fails the test unless the script's last line was executed.
func (s *suite) wantEnd(t *testing.T) {
	t.Helper()
	last := len(s.lines)
	for strings.TrimSpace(s.lines[last-1]) == "" {
		last--
	}
	end := fmt.Sprintf("%s:%d: ", s.name, last)
	if !slices.ContainsFunc(s.trace, func(line string) bool { return strings.Contains(line, end) }) {
		t.Errorf("%s did not reach its end; its last words:\n%s", s.name, strings.Join(s.trace[max(0, len(s.trace)-30):], "\n"))
	}
}

// before is what the script wrote before a line failed for the first time.
func (s *suite) before(number int) string {
	at := slices.Index(s.trace, fmt.Sprint(failedHere, " ", number))
	return strings.Join(s.trace[max(0, at-12):max(0, at)], "\n")
}

// wantNone fails the test for each line that failed.
func (s *suite) wantNone(t *testing.T) {
	t.Helper()
	t.Logf("%s: %d lines failed", s.name, len(s.failed))
	for _, number := range s.failed {
		t.Errorf("%s:%d failed: %s\n%s", s.name, number, strings.TrimSpace(s.lines[number-1]), s.before(number))
	}
}
