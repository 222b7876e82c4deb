// Package booted has the tests that need a booted systemd: they start real
// containers and talk to whichever daemon owns org.freedesktop.machine1.
// testhost runs them in a host of their own:
//
//	testhost test [--stock] [--forky] ./test/booted/...
//
// A test's name says where it is run: TestMachd… where machd is in its place,
// Test262… with that version of systemd, TestMachd262… with both, TestNew…
// where the daemon is a new one, machd or of systemd 258 and later, and every
// other test everywhere. What is expected everywhere is what
// systemd-machined does: a test that fails there is wrong.
//
// Tests that replace, stop or kill the daemon, PID 1's state or polkit have the
// host for themselves: they do not call t.Parallel.
package booted

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// host is what these tests run on.
var host struct {
	machd   bool // it owns org.freedesktop.machine1, and systemd-machined is installed too
	version int  // of systemd: 257, 262
}

// A thread that becomes another user ends with its goroutine. The main thread
// cannot end, so the main goroutine keeps it.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) {
	flag.Parse()
	if kind := os.Getenv("MACHD_TEST_HOST"); kind == "" {
		fmt.Println("these tests need a booted host: run testhost test ./test/booted/...")
		if os.Getenv("MACHD_TEST_STRICT") == "1" {
			os.Exit(1)
		}
		os.Exit(0)
	}
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "cannot prepare the tests:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// prepare looks at the host and leaves out the tests that are for another one.
func prepare() error {
	owner, err := daemonNow()
	if err != nil {
		return err
	}
	host.machd = owner == machd
	out, err := exec.Command("systemctl", "show", "--property=Version", "--value").Output()
	if err != nil {
		return err
	}
	// As in "257.13-1~deb13u1".
	version := strings.FieldsFunc(string(out), func(r rune) bool { return !unicode.IsDigit(r) })
	host.version, err = strconv.Atoi(version[0])
	return errors.Join(err, flag.Set("test.skip", notForHere()))
}

// notForHere is a pattern of the tests for other hosts, and of those that the
// user wants to skip.
func notForHere() string {
	var skip []string
	if own := flag.Lookup("test.skip").Value.String(); own != "" {
		skip = append(skip, own)
	}
	if !host.machd {
		skip = append(skip, "^TestMachd")
	}
	if host.version < 262 {
		skip = append(skip, "^Test(Machd)?262")
	}
	if host.version < 258 && !host.machd {
		skip = append(skip, "^TestNew")
	}
	return strings.Join(skip, "|")
}
