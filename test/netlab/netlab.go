// Package netlab has network namespaces for tests: one that plays the host's,
// and others for those who are connected to it. It needs root.
package netlab

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	vns "github.com/vishvananda/netns"
)

// Main runs the tests of a package in a network namespace of their own. Fuzzing
// needs none, and has workers that must be left as they are.
func Main(m *testing.M) {
	const inside = "MACHD_TEST_NETNS"
	flag.Parse()
	if os.Getenv(inside) != "" || set("test.fuzz", "") || set("test.fuzzworker", "false") {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot make a network namespace, which needs root:", err)
		os.Exit(1)
	}
}

func set(name, unset string) bool {
	f := flag.Lookup(name)
	return f != nil && f.Value.String() != unset
}

// New returns a network namespace that ends with the test.
func New(tb testing.TB) vns.NsHandle {
	tb.Helper()
	var ns vns.NsHandle
	err := onThread(func() (err error) {
		ns, err = vns.New()
		return err
	})
	if err != nil {
		tb.Fatalf("cannot make a network namespace: %v", err)
	}
	tb.Cleanup(func() { ns.Close() })
	return ns
}

// In runs f on a thread in the namespace. What f starts is there, too, but no
// goroutine.
func In(tb testing.TB, ns vns.NsHandle, f func() error) {
	tb.Helper()
	err := onThread(func() error {
		if err := vns.Set(ns); err != nil {
			return err
		}
		return f()
	})
	if err != nil {
		tb.Fatal(err)
	}
}

// onThread runs f on a thread that is thrown away.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		defer close(done) // f may end the test
		runtime.LockOSThread()
		done <- f()
	}()
	return <-done
}
