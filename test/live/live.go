// Package live is what the tests that run in a booted host have in common:
// which host it is, commands and how they ended, waiting. testhost runs such
// tests; a test's name says in which host:
//
// TestMachd… where machd is in its place, Test262… with that version of systemd,
// TestMachd262… with both, TestNew… where the daemon is a new one, machd or of
// systemd 258 and later, and every other test everywhere. What is expected
// everywhere is what systemd-machined does: a test that fails there is wrong.
//
// It must not know what any test is about.
package live

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// Host is what the tests run on.
var Host struct {
	Machd   bool // it is in systemd-machined's place, which is installed too
	Version int  // of systemd: 257, 262
}

// Main is the whole TestMain of a package of such tests. No test is run unless
// the host passes the checks.
func Main(m *testing.M, checks ...func() error) {
	flag.Parse()
	kind := os.Getenv("MACHD_TEST_HOST")
	if kind == "" {
		fmt.Println("these tests need a booted host: run testhost test")
		if os.Getenv("MACHD_TEST_STRICT") == "1" {
			os.Exit(1)
		}
		os.Exit(0)
	}
	if err := prepare(kind); err != nil {
		fmt.Fprintln(os.Stderr, "cannot prepare the tests:", err)
		os.Exit(1)
	}
	for _, check := range checks {
		if err := check(); err != nil {
			fmt.Fprintln(os.Stderr, "this host is not the one that these tests are for:", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// prepare looks at the host and leaves out the tests that are for another one.
func prepare(kind string) error {
	Host.Machd = kind == "machd"
	out, err := exec.Command("systemctl", "show", "--property=Version", "--value").Output()
	if err != nil {
		return fmt.Errorf("cannot ask for systemd's version: %w", err)
	}
	// As in "257.13-1~deb13u1".
	digits := strings.FieldsFunc(string(out), func(r rune) bool { return !unicode.IsDigit(r) })
	if len(digits) == 0 {
		return fmt.Errorf("systemd's version is %q", out)
	}
	Host.Version, err = strconv.Atoi(digits[0])
	return errors.Join(err, flag.Set("test.skip", notForHere()))
}

// notForHere is a pattern of the tests for other hosts, and of those that the
// user wants to skip.
func notForHere() string {
	var skip []string
	if own := flag.Lookup("test.skip").Value.String(); own != "" {
		skip = append(skip, own)
	}
	if !Host.Machd {
		skip = append(skip, "^TestMachd")
	}
	if Host.Version < 262 {
		skip = append(skip, "^Test(Machd)?262")
	}
	if Host.Version < 258 && !Host.Machd {
		skip = append(skip, "^TestNew")
	}
	return strings.Join(skip, "|")
}
