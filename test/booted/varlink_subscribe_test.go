package booted

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	machd1 "github.com/machd/machd/pkg/machd"
)

// A subscriber reads what becomes of machines.
type subscriber struct{ *varlinkConn }

func subscribe(t *testing.T, user string) subscriber {
	t.Helper()
	conn := dialVarlink(t, user)
	conn.send(t, withMore(varlinkMessage(machd1.MachineVarlink+".Subscribe", "")))
	return subscriber{conn}
}

// event returns the next one and the name of its machine, as "added m".
func (s subscriber) event() (string, error) {
	r, err := s.next()
	switch {
	case err != nil:
		return "", err
	case r.Error != "":
		return "", errors.New(r.Error)
	case !r.Continues:
		return "", fmt.Errorf("the stream ends with %v", r.Parameters)
	}
	m, _ := r.Parameters["machine"].(map[string]any)
	return strings.TrimSpace(fmt.Sprint(r.Parameters["event"], " ", orEmpty(m["name"]))), nil
}

func orEmpty(v any) string {
	text, _ := v.(string)
	return text
}

// await returns the events of these machines up to the one that is wanted.
func (s subscriber) await(t *testing.T, want string, machines ...string) []string {
	t.Helper()
	var seen []string
	for {
		e, err := s.event()
		if err != nil {
			t.Fatalf("after %q: %v", seen, err)
		}
		_, name, _ := strings.Cut(e, " ")
		if name == "" || slices.Contains(machines, name) {
			seen = append(seen, e)
		}
		if e == want {
			return seen
		}
	}
}

// A subscriber sees each machine that there is, then that this was all, and
// then each that comes or goes, whoever he is and whatever the machine is.
func TestMachdSubscribe(t *testing.T) {
	t.Parallel()
	const there, guest, short = "sub-there", "sub-guest", "sub-short"
	w := watch(t)
	register(t, w, there, startProcess(t, there))
	s := subscribe(t, "alice")
	if got := s.await(t, "listed", there); !slices.Equal(got, []string{"present " + there, "listed"}) {
		t.Errorf("at first: %q", got)
	}
	startByHand(t, w, guest)
	register(t, w, short, startProcess(t, short))
	unregister(t, short)
	run(t, "machinectl", "terminate", guest)
	want := []string{"added " + guest, "added " + short, "removed " + short, "removed " + guest}
	if got := s.await(t, "removed "+guest, there, guest, short); !slices.Equal(got, want) {
		t.Errorf("then: %q, want %q", got, want)
	}
}

// A subscriber who does not read costs the daemon little, keeps nobody
// waiting, and finds everything in order when he does.
func TestMachdSubscriberWhoDoesNotRead(t *testing.T) {
	const name, rounds = "sub-slow", 150
	w := watch(t)
	p := startProcess(t, name)
	slow, quick := subscribe(t, "alice"), subscribe(t, "bob")
	quick.await(t, "listed")
	var want []string
	daemon := pid(t)
	wantCalm(t, daemon, func() {
		others := startProbe(t, "alice")
		for range rounds {
			register(t, w, name, p)
			must(t, w.call(t, "UnregisterMachine", []any{name}))
			for _, e := range []string{"added " + name, "removed " + name} {
				want = append(want, e)
				if got := quick.await(t, e, name); len(got) != 1 {
					t.Errorf("the other one sees %q, want %s", got, e)
				}
			}
		}
		if p100, own := others.longest(); own > time.Second {
			t.Errorf("somebody waited for %s, %s of it for the daemon", p100, own)
		}
	})
	slow.await(t, "listed")
	var got []string
	for range want {
		e, err := slow.event()
		must(t, err)
		got = append(got, e)
	}
	if !slices.Equal(got, want) {
		t.Errorf("of %d events, the slow one has seen %d otherwise", len(want), len(got))
	}
}

// A subscriber hears that the daemon has gone, and begins again with another.
func TestMachdSubscriptionEndsWithTheDaemon(t *testing.T) {
	const name = "sub-restart"
	w := watch(t)
	register(t, w, name, startProcess(t, name))
	for _, end := range []struct {
		how string
		run func()
	}{
		{"is restarted", func() { run(t, "systemctl", "restart", theService) }},
		{"is killed", func() { w.kill(t) }},
	} {
		s := subscribe(t, "alice")
		s.await(t, "listed", name)
		end.run()
		if e, err := s.event(); !errors.Is(err, io.EOF) && !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("when the daemon %s: %q, %v", end.how, e, err)
		}
		eventually(t, "a new daemon answers", func() error {
			_, err := varlinkCall(t, "alice", "io.systemd.Machine.List", `{"name":"`+name+`"}`)
			return err
		})
		if got := subscribe(t, "alice").await(t, "listed", name); !slices.Equal(got, []string{"present " + name, "listed"}) {
			t.Errorf("after the daemon %s: %q", end.how, got)
		}
	}
}
