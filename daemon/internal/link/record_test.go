package link_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/daemon/internal/link"
)

func TestSwitchesAreAsBeforeAfterAKill(t *testing.T) {
	t.Parallel()
	for _, kernel := range []string{"of today", "without force_forwarding"} {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			// Somebody else has one link forward, and no default for others.
			s.host.connect("other", s.router, "other")
			s.host.set("net/ipv6/conf/other/forwarding", "1")
			s.host.hears(s.router, "lan", "eth0")
			before := s.switches(t)
			f := s.forwarder(t)
			if kernel != "of today" {
				f.WithoutForce()
			}
			enable(t, f)
			if cmp.Equal(before, s.switches(t)) {
				t.Fatal("nothing was changed")
			}
			// The next daemon has the record only.
			must(t, s.forwarder(t).Restore())
			if diff := cmp.Diff(before, s.switches(t)); diff != "" {
				t.Errorf("switches (-before +after):\n%s", diff)
			}
			if _, err := os.Stat(s.record); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the record is left: %v", err)
			}
			s.host.hasRouterBy("eth0")
		})
	}
}

// A daemon may be killed after any single change.
func TestSwitchesAreAsBeforeAfterAKillInBetween(t *testing.T) {
	t.Parallel()
	for _, kernel := range []string{"of today", "without force_forwarding"} {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.host.hears(s.router, "lan", "eth0")
			before := s.switches(t)
			for changes := range 100 {
				f := s.forwarder(t)
				if kernel != "of today" {
					f.WithoutForce()
				}
				finished := killedAfter(changes, f, func() { enable(t, f) })
				must(t, s.forwarder(t).Restore())
				if diff := cmp.Diff(before, s.switches(t)); diff != "" {
					t.Fatalf("killed after %d changes: switches (-before +after):\n%s", changes, diff)
				}
				if finished {
					if changes < 6 {
						t.Errorf("there were %d changes", changes)
					}
					return
				}
			}
			t.Error("it never ended")
		})
	}
}

// killedAfter runs do until f has set that many switches, and reports whether it
// ended before.
func killedAfter(changes int, f *link.Forwarder, do func()) (finished bool) {
	type kill struct{}
	defer func() {
		if r := recover(); r != nil && r != (kill{}) {
			panic(r)
		}
	}()
	f.BeforeSwitch(func() {
		if changes == 0 {
			panic(kill{})
		}
		changes--
	})
	do()
	return true
}

func TestNothingIsChangedThatCannotBeWrittenDown(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	before := s.switches(t)
	s.record = filepath.Join(t.TempDir(), "no", "sysctl")
	if _, err := s.forwarder(t).Enable([]string{"ve-a"}, []string{"eth0"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff(before, s.switches(t)); diff != "" {
		t.Errorf("switches (-before +after):\n%s", diff)
	}
}

func TestForwardingThatFailsChangesNothing(t *testing.T) {
	t.Parallel()
	for _, kernel := range []string{"of today", "without force_forwarding"} {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.host.hears(s.router, "lan", "eth0")
			before := s.switches(t)
			for changes := range 6 {
				f := s.forwarder(t)
				if kernel != "of today" {
					f.WithoutForce()
				}
				refused := errors.New("refused")
				f.RefuseSwitch(changes, refused)
				if _, err := f.Enable([]string{"ve-a"}, []string{"eth0"}); !errors.Is(err, refused) {
					t.Errorf("got %v", err)
				}
				if diff := cmp.Diff(before, s.switches(t)); diff != "" {
					t.Errorf("refused after %d changes: switches (-before +after):\n%s", changes, diff)
				}
				if _, err := os.Stat(s.record); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("the record is left: %v", err)
				}
			}
		})
	}
}

func TestALinkThatHasGoneIsPassedOver(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if _, err := s.forwarder(t).Enable([]string{"ve-gone", "ve-a"}, []string{"gone", "eth0"}); err != nil {
		t.Error(err)
	}
	if !s.passes(t, "192.0.2.1", patience) || !s.passes(t, "2001:db8::1", patience) {
		t.Error("nothing passes")
	}
}

func TestALinkIsReleased(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	f := s.forwarder(t)
	enable(t, f)
	must(t, f.Release("ve-a"))
	s.host.is("net/ipv4/conf/ve-a/route_localnet", "0")
	s.host.is("net/ipv4/conf/ve-a/forwarding", "0")
	s.host.is("net/ipv4/conf/eth0/forwarding", "1")
	if !mentions(t, s.record, "eth0") || mentions(t, s.record, "ve-a") {
		t.Error("the record is wrong")
	}
}

// A machine that is started again has a new link of the old name.
func TestALinkThatIsNewIsChangedAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	f := s.forwarder(t)
	enable(t, f)
	must(t, s.host.other.LinkDel(s.host.find("ve-a")))
	s.host.connect("ve-a", s.machine, "host0")
	s.host.is("net/ipv4/conf/ve-a/route_localnet", "0")
	recorded := len(f.Changed())
	enable(t, f)
	s.host.is("net/ipv4/conf/ve-a/route_localnet", "1")
	if n := len(f.Changed()); n != recorded {
		t.Errorf("the record has %d switches, before it had %d", n, recorded)
	}
	must(t, f.Restore())
	s.host.is("net/ipv4/conf/ve-a/route_localnet", "0")
}

func TestARecordOfAnotherBootIsNotBelieved(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.host.set("net/ipv4/conf/eth0/forwarding", "1") // the administrator's
	must(t, os.WriteFile(s.record, []byte("boot 0123\nnet/ipv4/conf/eth0/forwarding 0 1\n"), 0o644))
	f := s.forwarder(t)
	must(t, f.Restore())
	s.host.is("net/ipv4/conf/eth0/forwarding", "1")
}

func TestARecordThatMakesNoSenseIsAnError(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, line := range []string{"net/ipv4/conf/eth0/forwarding 0", "net/../kernel/core_pattern a b", "kernel/core_pattern a b"} {
		must(t, os.WriteFile(s.record, []byte(line+"\n"), 0o644))
		if _, err := link.NewForwarder(s.host.Space, s.record, ours, nil); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", line)) {
			t.Errorf("got %v", err)
		}
	}
}

func mentions(t *testing.T, path, text string) bool {
	t.Helper()
	content, err := os.ReadFile(path)
	must(t, err)
	return strings.Contains(string(content), text)
}
