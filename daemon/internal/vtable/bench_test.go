package vtable_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"testing"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/daemon/internal/wire"
	"github.com/machd/machd/pkg/machine1"
)

// A registry is served by the benchmarks: as much as machined has.
type registry struct{ machines []machine1.ListedMachine }

type machineObject struct {
	name string
	id   [16]byte
	_    [300]byte // a Machine is not small
}

func text1(get func(machineObject) string) any {
	return vtable.Getter(func(_ context.Context, m machineObject) (string, error) { return get(m), nil })
}

var registryInterface = vtable.Interface{
	Name: machine1.ManagerInterface,
	Methods: []vtable.Method{
		{Name: "GetMachine", In: "name", Out: "machine", Func: vtable.Handler(func(_ context.Context, _ *vtable.Call, r *registry, name string) (dbus.ObjectPath, error) {
			return machine1.MachinePath(name), nil
		})},
		{Name: "ListMachines", Out: "machines", Func: func(_ context.Context, _ *vtable.Call, r *registry) ([]machine1.ListedMachine, error) {
			return r.machines, nil
		}},
		{Name: "GetMachineSlowly", In: "name", Out: "machine", Slow: true, Func: func(_ context.Context, _ *vtable.Call, r *registry, name string) (dbus.ObjectPath, error) {
			return machine1.MachinePath(name), nil
		}},
	},
}

var machineInterface = func() *vtable.Interface {
	i := &vtable.Interface{Name: machine1.MachineInterface}
	for n := range 10 {
		i.Properties = append(i.Properties, vtable.Property{
			Name: fmt.Sprint("Text", n), Emits: vtable.EmitsConst, Get: text1(func(m machineObject) string { return m.name }),
		})
	}
	for n := range 4 {
		i.Properties = append(i.Properties, vtable.Property{
			Name: fmt.Sprint("Number", n), Emits: vtable.EmitsConst,
			Get: vtable.Getter(func(context.Context, machineObject) (uint64, error) { return 7, nil }),
		})
	}
	i.Properties = append(i.Properties, vtable.Property{
		Name: "Id", Get: vtable.Getter(func(_ context.Context, m machineObject) ([]byte, error) { return m.id[:], nil }),
	})
	return i
}()

func (r *registry) Find(_ context.Context, _ *vtable.Call, path dbus.ObjectPath) ([]vtable.Binding, bool) {
	if path == machine1.ObjectPath {
		return []vtable.Binding{{Interface: &registryInterface, Target: r}}, true
	}
	return []vtable.Binding{{Interface: machineInterface, Target: machineObject{name: "container-1"}}}, true
}

func (r *registry) Children(context.Context, *vtable.Call, dbus.ObjectPath) []string { return nil }

func (r *registry) Waits(dbus.ObjectPath) bool { return false }

func newRegistry() *registry {
	r := &registry{}
	for i := range 1000 {
		name := fmt.Sprint("container-", i)
		r.machines = append(r.machines, machine1.ListedMachine{
			Name: name, Class: "container", Service: "systemd-nspawn", Path: machine1.MachinePath(name),
		})
	}
	return r
}

func benchConfig() vtable.Config {
	return vtable.Config{Tree: newRegistry(), Log: slog.New(slog.DiscardHandler), ErrorName: machine1.ErrorName}
}

var benchCalls = []struct {
	name, iface, member string
	path                dbus.ObjectPath
	in                  []any
}{
	{"GetMachine", machine1.ManagerInterface, "GetMachine", machine1.ObjectPath, []any{"container-1"}},
	{"GetMachineSlowly", machine1.ManagerInterface, "GetMachineSlowly", machine1.ObjectPath, []any{"container-1"}},
	{"ListMachines1000", machine1.ManagerInterface, "ListMachines", machine1.ObjectPath, nil},
	{"GetAll15", properties, "GetAll", machine1.MachinePath("container-1"), []any{machine1.MachineInterface}},
}

// fakeBus greets a server and returns the connection to it.
func fakeBus(b *testing.B) (address string, accept func() net.Conn) {
	b.Helper()
	path := filepath.Join(b.TempDir(), "bus")
	listener, err := net.Listen("unix", path)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { listener.Close() })
	accepted := make(chan net.Conn, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		conn.Read(make([]byte, 1000))
		io.WriteString(conn, "OK 00\r\nAGREE_UNIX_FD\r\n")
		hello := &dbus.Message{Type: dbus.TypeMethodReply, Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldReplySerial: dbus.MakeVariant(uint32(1)),
			dbus.FieldSignature:   dbus.MakeVariant(dbus.ParseSignatureMust("s")),
		}, Body: []any{":1.1"}}
		writeGodbus(b, conn, hello, 1)
		accepted <- conn
	}()
	return "unix:path=" + path, func() net.Conn { return <-accepted }
}

func writeGodbus(b *testing.B, to io.Writer, m *dbus.Message, serial uint32) {
	b.Helper()
	if _, err := to.Write(marshalGodbus(b, m, serial)); err != nil {
		b.Error(err)
	}
}

// readReplies reads n messages without looking into them.
func readReplies(from *bufio.Reader, n int) error {
	for range n {
		head, err := from.Peek(16)
		if err != nil {
			return err
		}
		fields := (binary.LittleEndian.Uint32(head[12:]) + 7) &^ 7
		if head[1] != byte(wire.TypeReply) {
			return fmt.Errorf("message of type %d", head[1])
		}
		if _, err := from.Discard(16 + int(fields+binary.LittleEndian.Uint32(head[4:]))); err != nil {
			return err
		}
	}
	return nil
}

// cpu returns the CPU time of this process in microseconds.
func cpu() float64 {
	var u unix.Rusage
	unix.Getrusage(unix.RUSAGE_SELF, &u)
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1000
}

// BenchmarkDispatch measures a server in this process, without a bus. The
// client's share of the CPU time is in it, but it does little.
func BenchmarkDispatch(b *testing.B) {
	for _, depth := range []int{1, 64} {
		for _, call := range benchCalls {
			b.Run(fmt.Sprintf("%s/inFlight=%d", call.name, depth), func(b *testing.B) {
				address, accept := fakeBus(b)
				server, err := vtable.Dial(b.Context(), address, benchConfig())
				if err != nil {
					b.Fatal(err)
				}
				ctx, cancel := context.WithCancel(b.Context())
				ran := make(chan error, 1)
				go func() { ran <- server.Run(ctx) }()
				bus := accept()
				defer bus.Close()

				one := marshalGodbus(b, &dbus.Message{Type: dbus.TypeMethodCall, Headers: map[dbus.HeaderField]dbus.Variant{
					dbus.FieldPath:        dbus.MakeVariant(call.path),
					dbus.FieldInterface:   dbus.MakeVariant(call.iface),
					dbus.FieldMember:      dbus.MakeVariant(call.member),
					dbus.FieldSender:      dbus.MakeVariant(":1.2"),
					dbus.FieldDestination: dbus.MakeVariant(":1.1"),
				}, Body: call.in}, 2)
				var many []byte
				for range depth {
					many = append(many, one...)
				}
				replies := bufio.NewReaderSize(bus, 256<<10)
				b.ReportAllocs()
				b.ResetTimer()
				start := cpu()
				for i := 0; i < b.N; i += depth {
					if _, err := bus.Write(many); err != nil {
						b.Fatal(err)
					}
					if err := readReplies(replies, depth); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric((cpu()-start)/float64(b.N), "cpu-µs/op")
				b.StopTimer()
				cancel()
				<-ran
			})
		}
	}
}
