package varlinkapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/auth"
	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/daemon/internal/imagemaker"
	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/operation"
	"github.com/machd/machd/daemon/internal/overview"
	"github.com/machd/machd/daemon/internal/varlink"
	"github.com/machd/machd/pkg/machine1"
)

// pid1 is a service manager that starts everything at once and keeps it.
type pid1 struct{}

func (pid1) StartTransient(context.Context, string, string, []machine1.Property) (dbus.ObjectPath, error) {
	return "/job/1", nil
}
func (pid1) WaitJob(ctx context.Context, _ dbus.ObjectPath) (string, error) { return "done", nil }
func (pid1) JobExists(context.Context, dbus.ObjectPath) (bool, error)       { return false, nil }
func (pid1) Stop(context.Context, string, string) (dbus.ObjectPath, error) {
	return "/job/2", nil
}
func (pid1) Kill(context.Context, string, string, int32) error                 { return nil }
func (pid1) KillSubgroup(context.Context, string, string, string, int32) error { return nil }
func (pid1) Unref(context.Context, string) error                               { return nil }
func (pid1) RefusesStop(context.Context, string) (bool, error)                 { return false, nil }
func (pid1) HasProcesses(context.Context, string) (bool, error)                { return true, nil }
func (pid1) ActiveState(context.Context, string) (string, error)               { return "active", nil }

// machines is the domain, but for registering: a test need not run in a unit,
// so every machine gets one. It remembers what was asked of it.
type machines struct {
	*machine.Manager

	mu    sync.Mutex
	calls []string
	last  machine.Registration
}

func (m *machines) note(call string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, call)
}

// take returns the calls since the last take.
func (m *machines) take() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	calls := m.calls
	m.calls = nil
	return calls
}

// registration returns the last one.
func (m *machines) registration() machine.Registration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last
}

func (m *machines) add(ctx context.Context, r machine.Registration) (machine.Machine, error) {
	m.mu.Lock()
	m.last = r
	m.mu.Unlock()
	return m.Manager.Create(ctx, r, nil, false)
}

func (m *machines) Register(ctx context.Context, r machine.Registration) (machine.Machine, error) {
	m.note("register " + r.Name)
	return m.add(ctx, r)
}

func (m *machines) Create(ctx context.Context, r machine.Registration, scope []machine1.Property, wait bool) (machine.Machine, error) {
	m.note(fmt.Sprintf("create %s %v wait=%v", r.Name, scope, wait))
	return m.add(ctx, r)
}

func (m *machines) Terminate(ctx context.Context, name string) error {
	m.note("terminate " + name)
	return m.Manager.Terminate(ctx, name)
}

func (m *machines) Kill(_ context.Context, name, whom string, signal int32) error {
	m.note(fmt.Sprintf("kill %s %q %d", name, whom, signal))
	return nil
}

// polkit answers as it is told, and remembers what it was asked.
type polkit struct {
	mu     sync.Mutex
	asked  []auth.Request
	answer func(auth.Request) (auth.Verdict, error) // nil for yes
}

func (p *polkit) Check(_ context.Context, _ auth.Caller, r auth.Request) (auth.Verdict, error) {
	p.mu.Lock()
	p.asked = append(p.asked, r)
	answer := p.answer
	p.mu.Unlock()
	if answer == nil {
		return auth.Verdict{}, nil
	}
	return answer(r)
}

func (p *polkit) say(answer func(auth.Request) (auth.Verdict, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

func (p *polkit) refuse(err error) {
	p.say(func(auth.Request) (auth.Verdict, error) { return auth.Verdict{}, err })
}

// take returns the questions since the last take.
func (p *polkit) take() []auth.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	asked := p.asked
	p.asked = nil
	return asked
}

type fixture struct {
	machines *machines
	polkit   *polkit
	network  *network
	level    *slog.LevelVar
	uid      atomic.Uint32 // of every caller
	path     string        // of the sockets
	users    string
	hook     string
	images   string                     // the pool
	leader   int                        // a child that lives as long as the test
	asked    map[string]map[string]bool // details and verbs by action, as far as noted
}

func start(t *testing.T) *fixture {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "etc/machine-id"), []byte("0123456789abcdef0123456789abcdef\n"), 0o444); err != nil {
		t.Fatal(err)
	}
	var api *API
	manager, err := machine.New(machine.Config{
		Dir: filepath.Join(root, "machines"), Root: root, Units: pid1{}, Emit: func(e machine.Event) { api.Announce(e) }, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{
		machines: &machines{Manager: manager},
		polkit:   &polkit{},
		network:  &network{},
		level:    new(slog.LevelVar),
		path:     filepath.Join(root, "machine"),
		users:    filepath.Join(root, "users"),
		hook:     filepath.Join(root, "hook"),
		images:   filepath.Join(root, "images"),
		leader:   child(t),
	}
	images := image.NewStore(image.Config{Dirs: []string{f.images}, Pool: f.images, LockDir: filepath.Join(root, "locks"), Host: true})
	guard := inside.NewGuard(log)
	api, err = New(Config{
		Machines: f.machines, Access: access.New(f.polkit, f.machines), Inside: guard,
		Launcher: f.network, Network: f.network, Doctor: f.network,
		Images: images, Maker: imagemaker.New(imagemaker.Config{Images: images}),
		Overview:   &overview.Viewer{Machines: f.machines, Inside: guard},
		Operations: operation.NewSet(), LogLevel: f.level, Version: "1", Log: log,
		Identify: func(c *net.UnixConn) (auth.Caller, error) {
			caller, err := auth.PeerCaller(c)
			caller.UID = f.uid.Load()
			return caller, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	sockets, err := Listen(Paths{Machine: f.path, Image: f.path + "Image", UserDatabase: f.users, Hook: f.hook, Mode: 0o666}, nil, "", log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var tasks sync.WaitGroup
	tasks.Go(func() { manager.Run(ctx) })
	tasks.Go(func() {
		if err := api.Serve(ctx, sockets); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); tasks.Wait() })
	return f
}

func child(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd.Process.Pid
}

// input is the parameters of a call. A nil value removes a key that merge
// would have put there.
type input map[string]any

func (i input) merge(more input) input {
	merged := maps.Clone(i)
	maps.Copy(merged, more)
	maps.DeleteFunc(merged, func(_ string, v any) bool { return v == nil })
	return merged
}

// call returns every answer to one call, until the first without "continues".
func (f *fixture) call(t *testing.T, method string, in any, more bool) []string {
	t.Helper()
	return begin(t, f.path, method, in, more).all()
}

// A stream is the answers to one call.
type stream struct {
	t *testing.T
	r *bufio.Reader
}

// begin makes a call at the socket path.
func begin(t *testing.T, path, method string, in any, more bool) stream {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	message, err := json.Marshal(map[string]any{"method": method, "parameters": in, "more": more})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(append(message, 0)); err != nil {
		t.Fatal(err)
	}
	return stream{t, bufio.NewReader(c)}
}

func (s stream) next() string {
	s.t.Helper()
	answer, err := s.r.ReadString(0)
	if errors.Is(err, io.EOF) {
		return "closed"
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSuffix(answer, "\x00")
}

func (s stream) all() (answers []string) {
	s.t.Helper()
	for {
		answers = append(answers, s.next())
		if !strings.Contains(answers[len(answers)-1], `"continues":true`) {
			return answers
		}
	}
}

// one is call for a method of io.systemd.Machine with one answer.
func (f *fixture) one(t *testing.T, method string, in any) string {
	t.Helper()
	answers := f.call(t, "io.systemd.Machine."+method, in, false)
	if len(answers) != 1 {
		t.Fatalf("got %d answers: %q", len(answers), answers)
	}
	return answers[0]
}

func (f *fixture) want(t *testing.T, method string, in any, want string) {
	t.Helper()
	if got := f.one(t, method, in); got != want {
		t.Errorf("%s %v:\n got %s\nwant %s", method, in, got, want)
	}
}

// register makes a machine called name with a leader of its own.
func (f *fixture) register(t *testing.T, name string, more input) int {
	t.Helper()
	leader := child(t)
	f.want(t, "Register", input{"name": name, "class": "container", "leader": leader}.merge(more), done)
	return leader
}

const (
	done           = `{"parameters":{}}`
	noSuchMachine  = `{"error":"io.systemd.Machine.NoSuchMachine","parameters":{}}`
	machineExists  = `{"error":"io.systemd.Machine.MachineExists","parameters":{}}`
	denied         = `{"error":"org.varlink.service.PermissionDenied","parameters":{}}`
	askSomebody    = `{"error":"io.systemd.InteractiveAuthenticationRequired","parameters":{}}`
	expectedMore   = `{"error":"org.varlink.service.ExpectedMore","parameters":{}}`
	notSupported   = `{"error":"io.systemd.System","parameters":{"origin":"linux","errno":95,"errnoName":"EOPNOTSUPP"}}`
	alreadyALeader = `{"error":"io.systemd.System","parameters":{"origin":"linux","errno":17,"errnoName":"EEXIST"}}`
)

func invalid(field string) string {
	return `{"error":"org.varlink.service.InvalidParameter","parameters":{"parameter":"` + field + `"}}`
}

func TestErrorOf(t *testing.T) {
	t.Parallel()
	system := func(errno int, name string) *varlink.Error {
		return &varlink.Error{Name: "io.systemd.System", Parameters: systemError{"linux", errno, name}}
	}
	for name, tt := range map[string]struct {
		err  error
		want *varlink.Error
	}{
		"a name":                  {machine1.Errorf(machine1.ErrNoSuchMachine, "x"), errNoSuchMachine},
		"polkit says no":          {fmt.Errorf("x: %w", machine1.ErrAccessDenied), varlink.ErrPermissionDenied},
		"an errno":                {&os.PathError{Op: "open", Path: "x", Err: unix.EBUSY}, system(16, "EBUSY")},
		"a wrapped errno":         {machine1.Errorf(unix.ENXIO, "x"), system(6, "ENXIO")},
		"one of ours":             {machine1.ErrInvalidArgs, system(22, "EINVAL")},
		"not supported":           {machine1.ErrNotSupported, system(95, "EOPNOTSUPP")},
		"an unknown error":        {errors.New("x"), system(5, "EIO")},
		"the caller left":         {context.Canceled, system(125, "ECANCELED")},
		"an unknown name of PID1": {&machine1.RemoteError{Name: "org.freedesktop.systemd1.Masked"}, system(5, "EIO")},
		"an errno of PID 1":       {&machine1.RemoteError{Name: "System.Error.EBUSY"}, system(16, "EBUSY")},
		"a standard name":         {&machine1.RemoteError{Name: "org.freedesktop.DBus.Error.NoMemory"}, system(12, "ENOMEM")},
		"PID 1 is not there":      {&machine1.RemoteError{Name: "org.freedesktop.DBus.Error.ServiceUnknown"}, system(113, "EHOSTUNREACH")},
		"PID 1 refuses":           {&machine1.RemoteError{Name: "org.freedesktop.DBus.Error.AccessDenied"}, varlink.ErrPermissionDenied},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, errorOf(tt.err)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSignalByName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]int64{
		"SIGTERM": 15, "TERM": 15, "SIGRTMIN": 34, "RTMIN+3": 37, "SIGRTMIN+30": 64, "RTMAX": 64, "SIGRTMAX-30": 34,
		"": 0, "SIG": 0, "FOO": 0, "sigterm": 0, "RTMIN+31": 0, "RTMIN+": 0, "RTMIN-1": 0, "RTMAX+1": 0, "RTMAX-31": 0, "RTMIN++1": 0,
	} {
		got, ok := signalByName(name)
		if !ok {
			got = 0
		}
		if got != want {
			t.Errorf("%q: got %d, want %d", name, got, want)
		}
	}
}
