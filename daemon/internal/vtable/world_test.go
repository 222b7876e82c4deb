package vtable_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/machine1"
)

const (
	worldName = "org.example.World"
	thingName = "org.example.Thing"
	rootPath  = dbus.ObjectPath("/org/example")
)

// A world is what the tests serve: one object with every kind of row, and
// things below it.
type world struct {
	things []string

	order   chan uint32   // what Count was called with
	gate    chan struct{} // closed to let Block return
	blocked atomic.Int32
	ended   atomic.Int32 // calls of Block whose context ended
	server  *vtable.Server

	mu    sync.Mutex
	taken []int
	level string
}

type thing struct {
	world *world
	name  string
}

type row struct {
	Name string
	Path dbus.ObjectPath
}

var worldInterface = vtable.Interface{
	Name: worldName,
	Methods: []vtable.Method{
		{Name: "Echo", In: "text", Out: "text", Func: vtable.Handler(func(_ context.Context, _ *vtable.Call, _ *world, s string) (string, error) {
			return s, nil
		})},
		{Name: "Add", In: "a b", Out: "sum", Access: "org.example.add", Func: func(_ context.Context, _ *vtable.Call, _ *world, a, b int32) (int32, error) {
			return a + b, nil
		}},
		{Name: "Describe", In: "- -", Out: "-", Func: describe},
		{Name: "Who", Out: "sender path interface member interactive", Func: who},
		{Name: "List", In: "n", Out: "rows", Func: vtable.Handler(list)},
		{Name: "ListEncoded", In: "n", Out: "rows", Func: func(ctx context.Context, c *vtable.Call, w *world, n uint32) (vtable.Encoded[[]row], error) {
			rows, _ := list(ctx, c, w, n)
			return vtable.Encode(rows)
		}},
		{Name: "Nothing", Func: func(context.Context, *vtable.Call, *world) error { return nil }},
		{Name: "Fail", In: "kind", Func: fail},
		{Name: "Panic", Func: func(context.Context, *vtable.Call, *world) error { panic("as asked for") }},
		{Name: "PanicSlowly", Slow: true, Func: func(context.Context, *vtable.Call, *world) error { panic("as asked for") }},
		{Name: "Count", In: "n", Out: "n", Func: func(_ context.Context, _ *vtable.Call, w *world, n uint32) (uint32, error) {
			w.order <- n
			return n, nil
		}},
		{Name: "Block", Slow: true, Func: block},
		{Name: "Announce", In: "n", Func: func(_ context.Context, _ *vtable.Call, w *world, n uint32) error {
			w.server.Emit(rootPath, worldName, "Counted", n)
			return nil
		}},
		{Name: "Keep", In: "fd", Func: keep},
		{Name: "KeepInside", In: "properties", Slow: true, Func: keepInside},
		{Name: "Look", In: "fd", Func: func(context.Context, *vtable.Call, *world, dbus.UnixFD) error { return nil }},
		{Name: "Open", In: "bad", Out: "fd text", Func: open},
		{Name: "Text", In: "kind", Out: "text", Func: vtable.Handler(text)},
	},
	Properties: []vtable.Property{
		{Name: "Zeta", Emits: vtable.EmitsConst, Get: func(context.Context, *world) (string, error) { return "z", nil }},
		{Name: "Alpha", Get: func(context.Context, *world) ([]row, error) { return []row{{"a", "/a"}}, nil }},
		{Name: "Secret", Emits: vtable.EmitsConst, Hidden: true, Get: func(context.Context, *world) (uint32, error) { return 42, nil }},
		{Name: "Rows", Emits: vtable.EmitsConst, Hidden: true, Get: vtable.Getter(func(context.Context, *world) ([]row, error) { return []row{{"a", "/a"}}, nil })},
		{Name: "Level", Emits: vtable.EmitsFalse, Privileged: true, Get: getLevel, Set: setLevel},
	},
	Signals: []vtable.Signal{{Name: "Counted", Args: "n", Types: "u"}},
}

var thingInterface = vtable.Interface{
	Name: thingName,
	Methods: []vtable.Method{
		{Name: "Name", Out: "name", Func: func(_ context.Context, _ *vtable.Call, t thing) (string, error) { return t.name, nil }},
	},
	Properties: []vtable.Property{
		{Name: "Name", Emits: vtable.EmitsConst, Get: vtable.Getter(func(_ context.Context, t thing) (string, error) { return t.name, nil })},
		{Name: "Broken", Hidden: true, Get: vtable.Getter(func(context.Context, thing) (string, error) { return "", errors.New("broken") })},
	},
}

func describe(_ context.Context, _ *vtable.Call, _ *world, v dbus.Variant, m map[string][]uint16) (string, error) {
	return fmt.Sprint(v.Signature(), v.Value(), m), nil
}

func who(_ context.Context, c *vtable.Call, _ *world) (string, dbus.ObjectPath, string, string, bool, error) {
	return c.Sender, c.Path, c.Interface, c.Member, c.Interactive, nil
}

func list(_ context.Context, _ *vtable.Call, _ *world, n uint32) ([]row, error) {
	rows := make([]row, n)
	for i := range rows {
		rows[i] = row{fmt.Sprintf("row-%d", i), dbus.ObjectPath(fmt.Sprintf("/row/%d", i))}
	}
	return rows, nil
}

func fail(_ context.Context, _ *vtable.Call, _ *world, kind string) error {
	switch kind {
	case "stock":
		return machine1.Errorf(machine1.ErrNoSuchMachine, "No machine 'x' known")
	case "errno":
		return fmt.Errorf("cannot do it: %w", unix.EBUSY)
	case "name":
		return &machine1.RemoteError{Name: "not a name", Text: "x"}
	case "text":
		return errors.New("\xff\x00" + strings.Repeat("é", 1<<20))
	}
	return errors.New("plain")
}

func block(ctx context.Context, _ *vtable.Call, w *world) error {
	w.blocked.Add(1)
	defer w.blocked.Add(-1)
	select {
	case <-w.gate:
		return nil
	case <-ctx.Done():
		w.ended.Add(1)
		return ctx.Err()
	}
}

func (w *world) take(fd int) error {
	if fd < 0 {
		return errors.New("nothing to take")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.taken = append(w.taken, fd)
	return nil
}

func keep(_ context.Context, c *vtable.Call, w *world, fd dbus.UnixFD) error {
	return w.take(c.TakeFD(fd))
}

func keepInside(_ context.Context, c *vtable.Call, w *world, properties []machine1.Property) error {
	for _, p := range properties {
		if fd, ok := p.Value.Value().(dbus.UnixFD); ok {
			return w.take(c.TakeFD(fd))
		}
	}
	return errors.New("no descriptor")
}

func open(_ context.Context, _ *vtable.Call, _ *world, bad bool) (dbus.UnixFD, string, error) {
	fd, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if bad {
		return dbus.UnixFD(fd), "\xff", err
	}
	return dbus.UnixFD(fd), os.DevNull, err
}

func text(_ context.Context, _ *vtable.Call, _ *world, kind string) (string, error) {
	switch kind {
	case "invalid":
		return "\xff", nil
	case "big":
		return strings.Repeat("x", 1<<20), nil
	case "huge":
		return strings.Repeat("x", 32<<20), nil
	}
	return kind, nil
}

func getLevel(_ context.Context, w *world) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.level, nil
}

func setLevel(_ context.Context, w *world, level string) error {
	if level == "" {
		return machine1.ErrInvalidArgs
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.level = level
	return nil
}

// Find and Children make the world a vtable.Tree.
func (w *world) Find(_ context.Context, _ *vtable.Call, path dbus.ObjectPath) ([]vtable.Binding, bool) {
	switch path {
	case "/", "/org", rootPath + "/thing":
		return nil, true
	case rootPath:
		return []vtable.Binding{{Interface: &worldInterface, Target: w}}, true
	case wrongPath:
		return []vtable.Binding{{Interface: &thingInterface, Target: w}}, true
	case rootPath + "/panic":
		panic("as asked for")
	}
	name, ok := strings.CutPrefix(string(path), string(rootPath)+"/thing/")
	if !ok || !slices.Contains(w.things, name) {
		return nil, false
	}
	return []vtable.Binding{
		{Interface: &thingInterface, Target: thing{w, name}},
		{Interface: &worldInterface, Target: w},
	}, true
}

func (w *world) Children(_ context.Context, _ *vtable.Call, path dbus.ObjectPath) []string {
	switch path {
	case "/":
		return []string{"org"}
	case "/org":
		return []string{"example"}
	case rootPath:
		return []string{"thing"}
	case rootPath + "/thing":
		return w.things
	}
	return nil
}

func (w *world) Waits(path dbus.ObjectPath) bool { return path == rootPath+"/panic" }

func newWorld() *world {
	return &world{things: []string{"one", "two"}, order: make(chan uint32, 1<<16), gate: make(chan struct{}), level: "info"}
}

// taken closes what the handlers took and returns how much that was.
func (w *world) closeTaken(t *testing.T) int {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, fd := range w.taken {
		if err := unix.Close(fd); err != nil {
			t.Error(err)
		}
	}
	return len(w.taken)
}
