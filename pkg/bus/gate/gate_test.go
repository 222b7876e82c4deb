package gate_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/bus/gate"
	"github.com/machd/machd/pkg/dbustest"
)

const serverName = "org.example.Server"

type dialer func(ctx context.Context, address string, options ...dbus.ConnOption) (*dbus.Conn, error)

// dialers are the two ways to have a gate.
var dialers = map[string]dialer{"with descriptors": gate.Dial, "plain": gate.DialPlain}

func dial(t testing.TB, b *dbustest.Bus) *dbus.Conn {
	t.Helper()
	return dialer(gate.Dial).dial(t, b)
}

func (d dialer) dial(t testing.TB, b *dbustest.Bus) *dbus.Conn {
	t.Helper()
	conn, err := d(t.Context(), b.Address, dbus.WithSignalHandler(dbus.NewSequentialSignalHandler()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.Auth(nil); err != nil {
		t.Fatal(err)
	}
	if err := conn.Hello(); err != nil {
		t.Fatal(err)
	}
	return conn
}

// plain is a connection without a gate, which can serve.
func plain(t testing.TB, b *dbustest.Bus) *dbus.Conn {
	t.Helper()
	conn, err := dbus.Connect(b.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// serve answers on b with what it was sent.
func serve(t testing.TB, b *dbustest.Bus) *dbus.Conn {
	t.Helper()
	conn := plain(t, b)
	methods := map[string]any{
		"Echo": func(text string) (string, *dbus.Error) { return text, nil },
		"EchoFD": func(a, b dbus.UnixFD) (dbus.UnixFD, dbus.UnixFD, *dbus.Error) {
			return b, a, nil
		},
		"Fail": func() *dbus.Error { return dbus.NewError("org.example.Odd", []any{"it is broken"}) },
	}
	if err := conn.ExportMethodTable(methods, "/", serverName); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.RequestName(serverName, 0); err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestCallsAndSignalsPass(t *testing.T) {
	t.Parallel()
	for name, dialer := range dialers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			passCallsAndSignals(t, dialer)
		})
	}
}

func passCallsAndSignals(t *testing.T, dialer dialer) {
	b := dbustest.New(t)
	server, client := serve(t, b), dialer.dial(t, b)
	object := client.Object(serverName, "/")

	for _, size := range []int{0, 1, 100, 64 << 10, 5 << 20} {
		text := strings.Repeat("x", size)
		var got string
		if err := object.Call(serverName+".Echo", 0, text).Store(&got); err != nil || got != text {
			t.Errorf("%d bytes came back as %d, %v", size, len(got), err)
		}
	}
	var odd dbus.Error
	if err := object.Call(serverName+".Fail", 0).Err; !errors.As(err, &odd) || odd.Name != "org.example.Odd" {
		t.Errorf("Fail: %v", err)
	}

	signals := make(chan *dbus.Signal, 10)
	client.Signal(signals)
	if err := client.AddMatchSignal(dbus.WithMatchSender(serverName), dbus.WithMatchInterface(serverName)); err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		if err := server.Emit("/", serverName+".Said", uint32(i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 1000 {
		s := <-signals
		for s.Name != serverName+".Said" { // NameAcquired is the bus's
			s = <-signals
		}
		if s.Body[0] != uint32(i) {
			t.Fatalf("signal %d came as %v", i, s.Body)
		}
	}
}

func TestDescriptorsPassBothWaysWithTheirMessages(t *testing.T) {
	t.Parallel()
	b := dbustest.New(t)
	passDescriptors(t, b, dial(t, b))
}

// passDescriptors makes many calls at once, each with descriptors of its own,
// while a stranger sends some too.
func passDescriptors(t *testing.T, b *dbustest.Bus, client *dbus.Conn) {
	serve(t, b)
	object, liar := client.Object(serverName, "/"), plain(t, b)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if err := echoPipe(object); err != nil {
					t.Error(err)
					return
				}
			}
		})
		wg.Go(func() {
			for range 50 {
				if err := object.Call(serverName+".Echo", 0, "x").Err; err != nil {
					t.Error(err)
					return
				}
				liar.Send(attack(dbus.TypeSignal, client.Names()[0], dbus.UnixFD(0)), nil)
			}
		})
	}
	wg.Wait()
}

// echoPipe sends both ends of a pipe and checks that they come back.
func echoPipe(object dbus.BusObject) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	defer w.Close()
	var first, second dbus.UnixFD
	err = object.Call(serverName+".EchoFD", 0, dbus.UnixFD(r.Fd()), dbus.UnixFD(w.Fd())).Store(&first, &second)
	if err != nil {
		return err
	}
	writer, reader := os.NewFile(uintptr(first), "w"), os.NewFile(uintptr(second), "r")
	defer writer.Close()
	defer reader.Close()
	for _, pair := range [][2]*os.File{{w, writer}, {r, reader}} {
		sent, err := pair[0].Stat()
		if err != nil {
			return err
		}
		if got, err := pair[1].Stat(); err != nil || !os.SameFile(sent, got) {
			return fmt.Errorf("another descriptor came back, %w", err)
		}
	}
	return nil
}

// Each of these breaks godbus itself, or stays in it.
func TestStrangersDoNotGetThrough(t *testing.T) {
	for name, dialer := range dialers {
		t.Run(name, func(t *testing.T) { keepStrangersOut(t, dialer) })
	}
}

func keepStrangersOut(t *testing.T, dialer dialer) {
	b := dbustest.New(t)
	serve(t, b)
	client, liar := dialer.dial(t, b), plain(t, b)
	signals := make(chan *dbus.Signal, 100)
	client.Signal(signals)
	me := client.Names()[0]
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	fd := dbus.UnixFD(null.Fd())
	many := make([]dbus.UnixFD, 16)
	for i := range many {
		many[i] = fd
	}
	before := descriptors(t)
	for range 100 {
		for _, body := range [][]any{
			{"a signal"},
			{fd, fd, fd, fd},
			{many},
			{map[string]dbus.Variant{"fds": dbus.MakeVariant(many)}},
			{strings.Repeat("x", 200_000)},
		} {
			for _, kind := range []dbus.Type{dbus.TypeSignal, dbus.TypeMethodCall} {
				liar.Send(attack(kind, me, body...), make(chan *dbus.Call, 1))
			}
		}
		// godbus cannot write a{gs}, but without elements it is written alike.
		odd := attack(dbus.TypeSignal, me, map[string]string{})
		odd.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.ParseSignatureMust("a{gs}"))
		liar.Send(odd, nil)
	}
	if err := liar.BusObject().Call("org.freedesktop.DBus.GetId", 0).Err; err != nil {
		t.Fatal(err)
	}
	var got string
	if err := client.Object(serverName, "/").Call(serverName+".Echo", 0, "still there").Store(&got); err != nil {
		t.Fatal(err)
	}
	for len(signals) > 0 {
		if s := <-signals; s.Sender != "org.freedesktop.DBus" {
			t.Fatalf("%v got through", s)
		}
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors were left open", after-before)
	}
}

func attack(kind dbus.Type, to string, body ...any) *dbus.Message {
	return &dbus.Message{
		Type: kind,
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldDestination: dbus.MakeVariant(to),
			dbus.FieldPath:        dbus.MakeVariant(dbus.ObjectPath("/")),
			dbus.FieldInterface:   dbus.MakeVariant("a.b"),
			dbus.FieldMember:      dbus.MakeVariant("C"),
			dbus.FieldSignature:   dbus.MakeVariant(dbus.SignatureOf(body...)),
		},
		Body: body,
	}
}

func TestBothEndsCloseTogether(t *testing.T) {
	t.Parallel()
	for name, dialer := range dialers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			closeTogether(t, dialer)
		})
	}
}

func closeTogether(t *testing.T, dialer dialer) {
	b := dbustest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watcher := plain(t, b)
	ours, err := dialer(ctx, b.Address)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(ours.Auth(nil), ours.Hello()); err != nil {
		t.Fatal(err)
	}
	name := ours.Names()[0]
	signals := make(chan *dbus.Signal, 10)
	watcher.Signal(signals)
	if err := watcher.AddMatchSignal(dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, name)); err != nil {
		t.Fatal(err)
	}
	cancel()
	for s := range signals {
		if s.Name == "org.freedesktop.DBus.NameOwnerChanged" && s.Body[0] == name {
			break
		}
	}

	other := dialer.dial(t, b)
	b.Stop()
	select {
	case <-other.Context().Done():
	case <-time.After(20 * time.Second):
		t.Error("the connection outlived the bus")
	}
}

func TestAnAddressWithoutASocket(t *testing.T) {
	t.Parallel()
	for name, dialer := range dialers {
		if conn, err := dialer(t.Context(), "unix:path=/nonexistent/bus"); err == nil {
			conn.Close()
			t.Error(name, "connected to nothing")
		}
		if conn, err := dialer(t.Context(), "tcp:host=127.0.0.1,port=1"); err == nil {
			conn.Close()
			t.Error(name, "connected to no port")
		}
	}
}

func BenchmarkCall(b *testing.B) {
	bus := dbustest.New(b)
	for name, client := range map[string]*dbus.Conn{"gate": dial(b, bus), "plain": plain(b, bus)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := client.BusObject().Call("org.freedesktop.DBus.GetId", 0).Err; err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func descriptors(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
