package auth_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/daemon/internal/auth"
	"github.com/machd/machd/pkg/dbustest"
	"github.com/machd/machd/pkg/machine1"
)

func TestPolkitDecides(t *testing.T) {
	t.Parallel()
	yes := func(how string) answer {
		return answer{Authorized: true, Details: map[string]string{"polkit.result": how}}
	}
	for _, c := range []struct {
		name    string
		reply   func(context.Context, question) (answer, *dbus.Error)
		verdict auth.Verdict
		want    error
		text    string
	}{
		{"yes", say(answer{Authorized: true}), auth.Verdict{}, nil, ""},
		{"yes to an administrator", say(yes("auth_admin")), auth.Verdict{Admin: true}, nil, ""},
		{"yes to an administrator for a while", say(yes("auth_admin_keep")), auth.Verdict{Admin: true}, nil, ""},
		{"yes to the user himself", say(yes("auth_self")), auth.Verdict{}, nil, ""},
		{
			"yes after a while", func(ctx context.Context, q question) (answer, *dbus.Error) {
				timer := time.NewTimer(10 * time.Millisecond)
				defer timer.Stop()
				<-timer.C
				return yes("auth_admin"), nil
			}, auth.Verdict{Admin: true}, nil, "",
		},
		{"no", say(answer{}), auth.Verdict{}, machine1.ErrAccessDenied, "polkit rule"},
		{"a password would help", say(answer{Challenge: true}), auth.Verdict{}, machine1.ErrInteractionRequired, "does not let polkit ask"},
		{
			"the user did not want to", say(answer{Details: map[string]string{"polkit.dismissed": "true"}}),
			auth.Verdict{}, machine1.ErrAccessDenied, "dismissed",
		},
		{"it failed", fail(polkitName + ".Error.Failed"), auth.Verdict{}, machine1.ErrAccessDenied, "it is broken"},
		{"it was cancelled", fail(polkitName + ".Error.Cancelled"), auth.Verdict{}, machine1.ErrAccessDenied, "it is broken"},
		{"we may not ask", fail(polkitName + ".Error.NotAuthorized"), auth.Verdict{}, machine1.ErrAccessDenied, "it is broken"},
		{"it cannot be started", fail("org.freedesktop.DBus.Error.Spawn.ChildExited"), auth.Verdict{}, machine1.ErrAccessDenied, "not running"},
		{"it is masked", fail("org.freedesktop.systemd1.UnitMasked"), auth.Verdict{}, machine1.ErrAccessDenied, "not running"},
		{"its name has no owner", fail("org.freedesktop.DBus.Error.NameHasNoOwner"), auth.Verdict{}, machine1.ErrAccessDenied, "not running"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := dbustest.New(t)
			servePolkit(t, b, c.reply)
			a := authority(b)
			caller, _ := onBus(t, b, a)
			verdict, err := a.Check(t.Context(), caller, auth.Request{Action: action})
			if verdict != c.verdict || !errors.Is(err, c.want) {
				t.Errorf("Check = %v, %v, want %v, %v", verdict, err, c.verdict, c.want)
			}
			if err != nil && (!strings.Contains(err.Error(), c.text) || !strings.Contains(err.Error(), action)) {
				t.Errorf("%q says neither %q nor %q", err, c.text, action)
			}
		})
	}
}

func TestAnyOtherErrorIsForwardedAsItIs(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	servePolkit(t, b, fail("org.example.Odd"))
	a := authority(b)
	caller, _ := onBus(t, b, a)
	_, err := a.Check(t.Context(), caller, auth.Request{Action: action})
	if machine1.ErrorName(err) != "org.example.Odd" || err.Error() != "it is broken" {
		t.Errorf("Check: %v is called %s", err, machine1.ErrorName(err))
	}
}

func TestNobodyMayWithoutPolkit(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	a := authority(b)
	caller, _ := onBus(t, b, a)
	_, err := a.Check(t.Context(), caller, auth.Request{Action: action})
	const want = "access denied: polkit is not running, so only root may do this (org.freedesktop.machine1.login)"
	if !errors.Is(err, machine1.ErrAccessDenied) || err.Error() != want {
		t.Errorf("Check: %v, want %s", err, want)
	}
}

func TestTheQuestionNamesCallerActionAndDetails(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	f := servePolkit(t, b, say(answer{Authorized: true}))
	a := authority(b)
	caller, client := onBus(t, b, a)
	details := map[string]string{"machine": "c8-ns", "verb": "login"}
	seen := map[string]bool{}
	for _, interactive := range []bool{false, true} {
		_, err := a.Check(t.Context(), caller, auth.Request{Action: action, Details: details, Interactive: interactive})
		if err != nil {
			t.Fatal(err)
		}
		got := next(t, f.asked)
		if seen[got.Cancellation] || got.Cancellation == "" {
			t.Errorf("the cancellation id %q was used before", got.Cancellation)
		}
		seen[got.Cancellation] = true
		want := question{
			Subject:      subject{"system-bus-name", map[string]dbus.Variant{"name": dbus.MakeVariant(client.Names()[0])}},
			Action:       action,
			Details:      details,
			Cancellation: got.Cancellation,
		}
		if interactive {
			want.Flags = 1
		}
		if diff := cmp.Diff(got, want, cmp.Comparer(sameVariant)); diff != "" {
			t.Error(diff)
		}
	}
}

func sameVariant(a, b dbus.Variant) bool { return a.String() == b.String() }

func TestAPeerIsNamedByItsProcess(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	f := servePolkit(t, b, say(answer{Authorized: true}))
	served, _ := peers(t)
	caller, err := auth.PeerCaller(served)
	if err != nil {
		t.Fatal(err)
	}
	defer caller.Close()
	caller.UID = stranger
	if _, err := authority(b).Check(t.Context(), caller, auth.Request{Action: action}); err != nil {
		t.Fatal(err)
	}
	got := next(t, f.asked).Subject
	fd, ok := got.Details["pidfd"].Value().(dbus.UnixFD)
	if !ok || got.Kind != "unix-process" || got.Details["uid"].Value() != int32(stranger) {
		t.Fatalf("the subject is %v", got)
	}
	link, err := os.Readlink("/proc/self/fd/" + dbus.MakeVariant(int32(fd)).String())
	if err != nil || !strings.Contains(link, "pidfd") {
		t.Errorf("polkit got %q, %v", link, err)
	}
	os.NewFile(uintptr(fd), "pidfd").Close()
	if !caller.PIDFD.Alive() {
		t.Error("our own descriptor was closed")
	}
}

func TestAPeerWithoutAProcessIsDenied(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	servePolkit(t, b, say(answer{Authorized: true}))
	_, err := authority(b).Check(t.Context(), auth.Caller{UID: stranger}, auth.Request{Action: action})
	if !errors.Is(err, machine1.ErrAccessDenied) {
		t.Errorf("Check: %v", err)
	}
}

func TestSomeAreNotAskedAbout(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	f := servePolkit(t, b, say(answer{}))
	a := authority(b)
	own, other := uint32(stranger), uint32(stranger+1)
	for _, c := range []struct {
		name  string
		uid   uint32
		owner *uint32
		want  error
	}{
		{"our own user", uint32(os.Geteuid()), nil, nil},
		{"the owner", stranger, &own, nil},
		{"another one's", stranger, &other, machine1.ErrAccessDenied},
		{"nobody's", stranger, nil, machine1.ErrAccessDenied},
	} {
		caller, _ := onBus(t, b, a)
		caller.UID = c.uid
		_, err := a.Check(t.Context(), caller, auth.Request{Action: action, Owner: c.owner})
		if !errors.Is(err, c.want) || len(f.asked) == 0 == (c.want != nil) {
			t.Errorf("%s: %v after %d questions", c.name, err, len(f.asked))
		}
	}
}

func TestAQuestionIsTakenBack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		end  func(cancel context.CancelFunc, client *dbus.Conn)
		want error
	}{
		{"when the context ends", func(cancel context.CancelFunc, _ *dbus.Conn) { cancel() }, context.Canceled},
		{"when the caller leaves", func(_ context.CancelFunc, client *dbus.Conn) { client.Close() }, machine1.ErrDisconnected},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := dbustest.New(t)
			f := servePolkit(t, b, never)
			a := authority(b)
			caller, client := onBus(t, b, a)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			checked := make(chan error, 1)
			go func() {
				_, err := a.Check(ctx, caller, auth.Request{Action: action, Interactive: true})
				checked <- err
			}()
			asked := next(t, f.asked)
			c.end(cancel, client)
			if err := next(t, checked); !errors.Is(err, c.want) {
				t.Errorf("Check returned %v, want %v", err, c.want)
			}
			if id := next(t, f.cancelled); id != asked.Cancellation {
				t.Errorf("%q was cancelled, want %q", id, asked.Cancellation)
			}
		})
	}
}

func TestOthersThatLeaveDoNotMatter(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	proceed := make(chan struct{})
	f := servePolkit(t, b, func(context.Context, question) (answer, *dbus.Error) {
		<-proceed
		return answer{Authorized: true}, nil
	})
	ours := b.Dial()
	a := auth.New(ours, slog.New(slog.DiscardHandler))
	caller, client := onBus(t, b, a)
	checked := make(chan error, 1)
	go func() {
		_, err := a.Check(t.Context(), caller, auth.Request{Action: action})
		checked <- err
	}()
	asked := next(t, f.asked)
	another := b.Dial()
	another.Close()
	// Anybody can send us what looks like the bus's word.
	liar := b.Dial()
	liar.Send(leftSignal(ours.Names()[0], client.Names()[0]), nil)
	if err := liar.BusObject().Call("org.freedesktop.DBus.GetId", 0).Err; err != nil {
		t.Fatal(err)
	}
	close(proceed)
	if err := next(t, checked); err != nil || asked.Action != action {
		t.Errorf("Check: %v", err)
	}
}

// leftSignal returns a signal to one connection only, which needs no match.
func leftSignal(to, name string) *dbus.Message {
	body := []any{name, name, ""}
	return &dbus.Message{
		Type: dbus.TypeSignal,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldDestination: dbus.MakeVariant(to),
			dbus.FieldPath:        dbus.MakeVariant(dbus.ObjectPath("/org/freedesktop/DBus")),
			dbus.FieldInterface:   dbus.MakeVariant("org.freedesktop.DBus"),
			dbus.FieldMember:      dbus.MakeVariant("NameOwnerChanged"),
			dbus.FieldSignature:   dbus.MakeVariant(dbus.SignatureOf(body...)),
		},
		Body: body,
	}
}
