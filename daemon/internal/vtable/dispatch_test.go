package vtable_test

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/wire"
	"github.com/machd/machd/pkg/machine1"
)

const errorNS = "org.freedesktop.DBus.Error."

func TestCallsReachTheirRows(t *testing.T) {
	t.Parallel()
	s := serve(t)
	conn := s.bus.Dial()
	me := conn.Names()[0]
	tests := []struct {
		name   string
		path   dbus.ObjectPath
		member string
		in     []any
		want   []any
	}{
		{"a string", rootPath, worldName + ".Echo", []any{"ä"}, []any{"ä"}},
		{"two integers", rootPath, worldName + ".Add", []any{int32(-2), int32(44)}, []any{int32(42)}},
		{"no arguments and no results", rootPath, worldName + ".Nothing", nil, nil},
		{"a list of structs", rootPath, worldName + ".List", []any{uint32(1)}, []any{[][]any{{"row-0", dbus.ObjectPath("/row/0")}}}},
		{"a variant and a dictionary", rootPath, worldName + ".Describe",
			[]any{dbus.MakeVariant([]string{"x"}), map[string][]uint16{"a": {1}}}, []any{"as [x] map[a:[1]]"}},
		{"the call itself", rootPath, worldName + ".Who", nil, []any{me, rootPath, worldName, "Who", false}},
		{"a target that is a value", rootPath + "/thing/two", thingName + ".Name", nil, []any{"two"}},
		{"the second interface of an object", rootPath + "/thing/two", worldName + ".Echo", []any{"x"}, []any{"x"}},
		{"Ping", rootPath, "org.freedesktop.DBus.Peer.Ping", nil, nil},
		{"Ping of a path without an object", "/nowhere", "org.freedesktop.DBus.Peer.Ping", nil, nil},
		{"GetMachineId", "/", "org.freedesktop.DBus.Peer.GetMachineId", nil, []any{machineID}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := s.call(t, conn, tt.path, tt.member, tt.in...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestACallWithoutInterfaceFindsTheMember(t *testing.T) {
	t.Parallel()
	s := serve(t)
	p := s.peer(t)
	for member, want := range map[string]string{
		"Add": errorNS + "InvalidArgs", "Name": "", "Nothing": "", "Ping": "", "Introspect": "", "Missing": errorNS + "UnknownMethod",
	} {
		h := method(member)
		h.Path, h.Interface = rootPath+"/thing/one", ""
		if got := p.call(h, nil).ErrorName; got != want {
			t.Errorf("%s: got %q, want %q", member, got, want)
		}
	}
}

func TestInteractiveIsPassedOn(t *testing.T) {
	t.Parallel()
	s := serve(t)
	p := s.peer(t)
	h := method("Who")
	h.Flags = wire.AllowInteractiveAuthorization
	var d wire.Decoder
	d.Reset(p.call(h, nil))
	d.Text()
	d.ObjectPath()
	d.Text()
	d.Text()
	if !d.Bool() {
		t.Error("not passed on")
	}
}

func TestErrorsHaveStockNamesAndTexts(t *testing.T) {
	t.Parallel()
	s := serve(t)
	conn := s.bus.Dial()
	tests := []struct {
		name   string
		path   dbus.ObjectPath
		member string
		in     []any
		want   machine1.RemoteError
	}{
		{"no such object", "/x", worldName + ".Echo", []any{""},
			machine1.RemoteError{Name: errorNS + "UnknownObject", Text: "Unknown object '/x'."}},
		{"a method of a node that is only a parent", "/org", worldName + ".Echo", []any{""},
			machine1.RemoteError{Name: errorNS + "UnknownObject", Text: "Unknown object '/org'."}},
		{"properties of a node that is only a parent", "/org", "org.freedesktop.DBus.Properties.GetAll", []any{""},
			machine1.RemoteError{Name: errorNS + "UnknownObject", Text: "Unknown object '/org'."}},
		{"no such method", rootPath, worldName + ".Missing", nil,
			machine1.RemoteError{Name: errorNS + "UnknownMethod", Text: "Unknown method Missing or interface " + worldName + "."}},
		{"no such interface", rootPath, "org.example.Missing.Echo", nil,
			machine1.RemoteError{Name: errorNS + "UnknownMethod", Text: "Unknown method Echo or interface org.example.Missing."}},
		{"no such method of Peer", "/", "org.freedesktop.DBus.Peer.Missing", nil,
			machine1.RemoteError{Name: errorNS + "UnknownMethod", Text: "Unknown method Missing or interface org.freedesktop.DBus.Peer."}},
		{"another signature", rootPath, worldName + ".Add", []any{uint32(1), int32(1)},
			machine1.RemoteError{Name: errorNS + "InvalidArgs", Text: "Invalid arguments 'ui' to call org.example.World.Add(), expecting 'ii'."}},
		{"no arguments where some are expected", rootPath, worldName + ".Echo", nil,
			machine1.RemoteError{Name: errorNS + "InvalidArgs", Text: "Invalid arguments '' to call org.example.World.Echo(), expecting 's'."}},
		{"arguments that are too long", rootPath, worldName + ".Echo", []any{strings.Repeat("x", 2<<20)},
			machine1.RemoteError{Name: errorNS + "LimitsExceeded", Text: "limits exceeded: the arguments are longer than 1048576 bytes"}},
		{"a float for an integer", rootPath, worldName + ".Count", []any{3.9},
			machine1.RemoteError{Name: errorNS + "InvalidArgs", Text: "Invalid arguments 'd' to call org.example.World.Count(), expecting 'u'."}},
		{"arguments of a method that has none", rootPath, worldName + ".Nothing", []any{"x"},
			machine1.RemoteError{Name: errorNS + "InvalidArgs", Text: "Invalid arguments 's' to call org.example.World.Nothing(), expecting ''."}},
		{"an error with a stock text", rootPath, worldName + ".Fail", []any{"stock"},
			machine1.RemoteError{Name: "org.freedesktop.machine1.NoSuchMachine", Text: "No machine 'x' known"}},
		{"an errno", rootPath, worldName + ".Fail", []any{"errno"},
			machine1.RemoteError{Name: "System.Error.EBUSY", Text: "cannot do it: " + unix.EBUSY.Error()}},
		{"an error of no kind", rootPath, worldName + ".Fail", []any{""},
			machine1.RemoteError{Name: errorNS + "Failed", Text: "plain"}},
		{"an error name that is none", rootPath, worldName + ".Fail", []any{"name"},
			machine1.RemoteError{Name: errorNS + "Failed", Text: "x"}},
		{"a panic", rootPath, worldName + ".Panic", nil,
			machine1.RemoteError{Name: errorNS + "Failed", Text: "internal error"}},
		{"a panic in a slow method", rootPath, worldName + ".PanicSlowly", nil,
			machine1.RemoteError{Name: errorNS + "Failed", Text: "internal error"}},
		{"a panic in the tree", rootPath + "/panic", worldName + ".Echo", []any{""},
			machine1.RemoteError{Name: errorNS + "Failed", Text: "internal error"}},
		{"a result that is not UTF-8", rootPath, worldName + ".Text", []any{"invalid"},
			machine1.RemoteError{Name: errorNS + "Failed", Text: "cannot send the result: a string is not valid UTF-8 or contains a zero byte"}},
		{"a result that is too long", rootPath, worldName + ".Text", []any{"huge"},
			machine1.RemoteError{Name: errorNS + "LimitsExceeded",
				Text: "limits exceeded: a string is longer than 16777216 bytes"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := s.call(t, conn, tt.path, tt.member, tt.in...)
			var got *machine1.RemoteError
			if !errors.As(err, &got) {
				t.Fatalf("got %v", err)
			}
			if diff := cmp.Diff(tt.want, *got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if n := strings.Count(s.log.String(), "a method panicked"); n != 3 {
		t.Errorf("%d panics were logged:\n%s", n, s.log)
	}
	if !strings.Contains(s.log.String(), "world_test.go") {
		t.Error("the log has no stack")
	}
}

func TestAnErrorTextIsMadeValidAndShort(t *testing.T) {
	t.Parallel()
	s := serve(t)
	_, err := s.call(t, s.bus.Dial(), rootPath, worldName+".Fail", "text")
	if err == nil || len(err.Error()) > 5000 || !strings.HasPrefix(err.Error(), "\uFFFDéé") {
		t.Errorf("got %.20q (%d bytes)", err, len(err.Error()))
	}
}

func TestBigEndianCallsAreUnderstood(t *testing.T) {
	t.Parallel()
	s := serve(t)
	p := newRaw(t, s.bus.Address)
	p.write(godbusCall(t, binary.BigEndian, 7, busName, rootPath, "Add", int32(-2), int32(44)))
	for {
		m := p.read()
		if m.ReplySerial != 7 {
			continue
		}
		var d wire.Decoder
		d.Reset(m)
		if got := d.Uint32(); m.Type != wire.TypeReply || got != 42 {
			t.Errorf("got %d, %s", got, m.ErrorName)
		}
		return
	}
}

func TestNoReplyIsSentIfNoneIsExpected(t *testing.T) {
	t.Parallel()
	s := serve(t)
	p := s.peer(t)
	for _, member := range []string{"Nothing", "Panic", "Missing", "Add"} {
		h := method(member)
		h.Flags = wire.NoReplyExpected
		p.send(h, nil)
	}
	h, body := with(t, method("Open"), false)
	h.Flags = wire.NoReplyExpected
	p.send(h, body)

	last := method("Nothing")
	p.send(last, nil)
	if m := p.receive(); m.ReplySerial != last.Serial {
		t.Errorf("got a reply to call %d, the last was %d", m.ReplySerial, last.Serial)
	}
}

func TestAnEncodedResultIsLikeAnyOther(t *testing.T) {
	t.Parallel()
	s := serve(t)
	conn := s.bus.Dial()
	for _, n := range []uint32{0, 3, 5000} { // short ones are copied, long ones not
		want, err := s.call(t, conn, rootPath, worldName+".List", n)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.call(t, conn, rootPath, worldName+".ListEncoded", n)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d rows (-List +ListEncoded):\n%s", n, diff)
		}
	}
}
