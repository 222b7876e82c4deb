package auth_test

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/auth"
	"github.com/machd/machd/pkg/dbustest"
)

const (
	polkitName = "org.freedesktop.PolicyKit1"
	polkitPath = dbus.ObjectPath("/org/freedesktop/PolicyKit1/Authority")
	action     = "org.freedesktop.machine1.login"

	// stranger is a user who is not the one that runs the tests.
	stranger = 4242

	// patience is how long a test waits for what has to happen.
	patience = 20 * time.Second
)

// A question is one call of CheckAuthorization.
type question struct {
	Subject      subject
	Action       string
	Details      map[string]string
	Flags        uint32
	Cancellation string
}

type subject struct {
	Kind    string
	Details map[string]dbus.Variant
}

type answer struct {
	Authorized bool
	Challenge  bool
	Details    map[string]string
}

// A fakePolkit answers by a function of the test's.
type fakePolkit struct {
	asked     chan question
	cancelled chan string
}

// servePolkit answers questions on b by reply, which has the context that ends
// with the test.
func servePolkit(t testing.TB, b *dbustest.Bus, reply func(context.Context, question) (answer, *dbus.Error)) *fakePolkit {
	t.Helper()
	f := &fakePolkit{asked: make(chan question, 100), cancelled: make(chan string, 100)}
	methods := map[string]any{
		"CheckAuthorization": func(s subject, action string, details map[string]string, flags uint32, cancellation string) (answer, *dbus.Error) {
			q := question{s, action, details, flags, cancellation}
			f.asked <- q
			return reply(t.Context(), q)
		},
		"CancelCheckAuthorization": func(cancellation string) *dbus.Error {
			f.cancelled <- cancellation
			return nil
		},
	}
	conn := b.Dial()
	if err := conn.ExportMethodTable(methods, polkitPath, polkitName+".Authority"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.RequestName(polkitName, 0); err != nil {
		t.Fatal(err)
	}
	return f
}

// never answers before the test ends.
func never(ctx context.Context, _ question) (answer, *dbus.Error) {
	<-ctx.Done()
	return answer{}, nil
}

func say(a answer) func(context.Context, question) (answer, *dbus.Error) {
	return func(context.Context, question) (answer, *dbus.Error) { return a, nil }
}

func fail(name string) func(context.Context, question) (answer, *dbus.Error) {
	return func(context.Context, question) (answer, *dbus.Error) {
		return answer{}, dbus.NewError(name, []any{"it is broken"})
	}
}

func authority(b *dbustest.Bus) *auth.Authority {
	return auth.New(b.Dial(), slog.New(slog.DiscardHandler))
}

// onBus returns a client of b as a Caller whom polkit has to be asked about.
func onBus(t testing.TB, b *dbustest.Bus, a *auth.Authority) (auth.Caller, *dbus.Conn) {
	t.Helper()
	client := b.Dial()
	c, err := a.BusCaller(t.Context(), client.Names()[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	c.UID = stranger
	return c, client
}

// peers returns both ends of a connection.
func peers(t testing.TB) (served, calling *net.UnixConn) {
	t.Helper()
	address := &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"}
	listener, err := net.ListenUnix("unix", address)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if calling, err = net.DialUnix("unix", nil, address); err != nil {
		t.Fatal(err)
	}
	if served, err = listener.AcceptUnix(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { served.Close(); calling.Close() })
	return served, calling
}

func next[T any](t testing.TB, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatal("nothing happened")
		panic("unreachable")
	}
}
