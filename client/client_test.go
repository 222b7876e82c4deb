package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/client"
	"github.com/machd/machd/client/internal/machine1test"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

func connect(t *testing.T, options ...client.Option) (*machine1test.World, *client.Client) {
	t.Helper()
	w := machine1test.New(t)
	return w, dial(t, w, options...)
}

func dial(t *testing.T, w *machine1test.World, options ...client.Option) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), w.Address, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestMachine(t *testing.T) {
	t.Parallel()
	w, c := connect(t)
	w.Add(machine1test.C8NS())
	got, err := c.Machine(t.Context(), "c8-ns")
	if err != nil {
		t.Fatal(err)
	}
	want := client.Machine{
		Name: "c8-ns", ID: [16]byte{0x8b, 0x1d, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14},
		Class: machine1.ClassContainer, Service: "systemd-nspawn", State: machine1.StateRunning,
		Since: time.UnixMicro(1795536687000000), SinceMonotonic: 1661234567 * time.Microsecond,
		Unit: "systemd-nspawn@c8-ns.service", Leader: 31698, RootDirectory: "/var/lib/machines/c8-ns",
		NetworkInterfaces: []int32{},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

func TestPropertiesComeInTheServersOrderAndUnknownOnesLast(t *testing.T) {
	t.Parallel()
	w, c := connect(t)
	m := machine1test.C8NS()
	m.Properties["Zeta"], m.Properties["Alpha"] = "", ""
	w.Add(m)
	properties, err := c.MachineProperties(t.Context(), "c8-ns")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range properties {
		got = append(got, p.Name)
	}
	want := "Name Id Timestamp TimestampMonotonic Service Unit Leader Class RootDirectory NetworkInterfaces State Alpha Zeta"
	if strings.Join(got, " ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, " "), want)
	}
}

func TestErrorsKeepTheirKind(t *testing.T) {
	t.Parallel()
	w, c := connect(t)
	ctx := t.Context()
	w.AddImage(machine1test.Image{ListedImage: machine1.ListedImage{Name: "web"}})
	w.Fail("TerminateMachine", machine1test.Error("org.freedesktop.DBus.Error.AccessDenied", "Access denied"))
	w.Fail("OpenMachineLogin", machine1test.Error("org.freedesktop.DBus.Error.FileNotFound", "There is no system bus in container x."))
	_, noImage := c.Image(ctx, "nope")
	_, noMachine := c.Machine(ctx, "nope")
	_, noBus := c.OpenLogin(ctx, "nope")
	for _, row := range []struct {
		err, want error
		text      string
	}{
		{noImage, machine1.ErrNoSuchImage, `cannot find "nope": No image 'nope' known`},
		{noMachine, machine1.ErrNoSuchMachine, `cannot find "nope": No machine 'nope' known`},
		{c.Kill(ctx, "nope", client.WhomAll, syscall.SIGTERM), machine1.ErrNoSuchMachine, `cannot kill "nope": No machine 'nope' known`},
		{c.Kill(ctx, ".host", "", syscall.SIGTERM), machine1.ErrNotSupported, `cannot kill ".host": Operation not supported`},
		{c.Terminate(ctx, "nope"), machine1.ErrAccessDenied, `cannot terminate "nope": Access denied`},
		{noBus, machine1.ErrFileNotFound, `cannot open a terminal in "nope": There is no system bus in container x.`},
		{c.Start(ctx, "nope"), machine1.ErrNoSuchImage, `cannot start "nope": No image 'nope' known`},
		{c.Start(ctx, "a_b"), machine1.ErrInvalidArgs, `cannot start "a_b": not a machine name: invalid arguments`},
	} {
		if !errors.Is(row.err, row.want) {
			t.Errorf("%v is not %v", row.err, row.want)
		}
		if row.err != nil && row.err.Error() != row.text {
			t.Errorf("text %q, want %q", row.err, row.text)
		}
	}
}

func TestOnlyAnInteractiveClientLetsTheUserBeAsked(t *testing.T) {
	t.Parallel()
	w, plain := connect(t)
	interactive := dial(t, w, client.Interactive())
	plain.Kill(t.Context(), ".host", client.WhomAll, 1)
	interactive.Kill(t.Context(), ".host", client.WhomAll, 2)
	interactive.Machines(t.Context(), client.OverviewQuery{Names: []string{".host"}, Patience: time.Minute})
	want := map[string]bool{
		"KillMachine .host all 1": true, "KillMachine .host all 2 interactive": true,
		"ListMachines": true, "GetMachineOSRelease .host": true, "GetMachineAddresses .host": true,
	}
	got := map[string]bool{}
	for _, call := range w.Calls() {
		got[call] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
}

func TestAnOverviewOfAThousandMachines(t *testing.T) {
	t.Parallel()
	w, c := connect(t)
	for i := range 1000 {
		m := machine1test.C8NS()
		m.Name = fmt.Sprintf("m%03d", i)
		w.Add(m)
	}
	start := time.Now()
	machines, err := c.Machines(t.Context(), client.OverviewQuery{Patience: time.Minute})
	if err != nil || len(machines) != 1001 {
		t.Fatalf("%d machines, %v", len(machines), err)
	}
	for _, d := range machines {
		if d.OSError != nil || d.AddressError != nil || d.OSRelease["ID"] != "centos" || len(d.Addresses) == 0 {
			t.Fatalf("%s: %+v", d.Name, d)
		}
	}
	t.Logf("asked in %v", time.Since(start))
}

func TestAHungMachineCostsItsOwnValuesOnly(t *testing.T) {
	t.Parallel()
	w, c := connect(t)
	w.Add(machine1test.C8NS())
	w.Hang("GetMachineOSRelease c8-ns")
	d, err := c.Machines(t.Context(), client.OverviewQuery{Patience: 3 * time.Second})
	if err != nil || len(d) != 2 || d[1].Name != "c8-ns" {
		t.Fatalf("%+v, %v", d, err)
	}
	if !errors.Is(d[1].OSError, machine1.ErrTimeout) || len(d[1].Addresses) != 2 {
		t.Errorf("the hung machine: %+v", d[1])
	}
	if d[0].OSError != nil || d[0].AddressError != nil {
		t.Errorf("the other machine: %+v", d[0])
	}
}

func TestADaemonThatAnswersNothingIsGivenUp(t *testing.T) {
	t.Parallel()
	w, c := connect(t)
	w.Hang("GetMachineOSRelease")
	w.Hang("GetMachineAddresses")
	for i := range 1000 {
		m := machine1test.C8NS()
		m.Name = fmt.Sprintf("m%03d", i)
		w.Add(m)
	}
	start := time.Now()
	machines, err := c.Machines(t.Context(), client.OverviewQuery{Patience: time.Second / 5})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range machines {
		if !errors.Is(d.OSError, machine1.ErrTimeout) || !errors.Is(d.AddressError, machine1.ErrTimeout) {
			t.Fatalf("%+v", d)
		}
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestAQuestionIsAskedAgainWhenTheDaemonIsReplaced(t *testing.T) {
	t.Parallel()
	for method, ask := range map[string]func(*client.Client) error{
		"ListMachines": func(c *client.Client) error { _, err := c.List(t.Context()); return err },
		"Introspect":   func(c *client.Client) error { _, err := c.IsMachd(t.Context()); return err },
	} {
		w, c := connect(t)
		w.Hang(method)
		answered := make(chan error, 1)
		go func() { answered <- ask(c) }()
		w.AwaitCall(method)
		if err := w.ReplaceMachined(); err != nil {
			t.Fatal(err)
		}
		if err := <-answered; err != nil {
			t.Errorf("%s: %v", method, err)
		}
	}
}

func TestAnOrderIsNotRepeatedWhenTheDaemonIsReplaced(t *testing.T) {
	t.Parallel()
	w, c := connect(t)
	w.Add(machine1test.C8NS())
	w.Hang("TerminateMachine")
	ended := make(chan error, 1)
	go func() { ended <- c.Terminate(t.Context(), "c8-ns") }()
	w.AwaitCall("TerminateMachine")
	if err := w.ReplaceMachined(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, machine1.ErrNoReply) {
		t.Errorf("got %v, want ErrNoReply", err)
	}
	if _, ok := w.Machine("c8-ns"); !ok {
		t.Error("the machine was terminated")
	}
}

// One that ends in order says so itself, and may be asked more than once before
// it has gone.
func TestAStopOutlivesTheDaemon(t *testing.T) {
	t.Parallel()
	for method, ask := range map[string]func(*client.Client) (string, error){
		"StopMachine": func(c *client.Client) (string, error) {
			return c.Stop(t.Context(), "c8-ns", machd.StopOptions{})
		},
		"TerminateMachine": func(c *client.Client) (string, error) {
			return c.TerminateAndWait(t.Context(), "c8-ns", machd.TerminateOptions{})
		},
		"WaitMachine": func(c *client.Client) (string, error) {
			state, _, err := c.Wait(t.Context(), "c8-ns", machd.WaitOptions{})
			return state, err
		},
	} {
		w, c := connect(t)
		w.Add(machine1test.C8NS())
		w.Fail(method, machine1test.Error("org.freedesktop.DBus.Error.NoReply", "the service is being ended"))
		type answer struct {
			text string
			err  error
		}
		answered := make(chan answer, 1)
		go func() {
			text, err := ask(c)
			answered <- answer{text, err}
		}()
		await(t, func() bool { return len(w.Calls()) > 2 || len(answered) > 0 })
		w.Fail(method, nil)
		want := map[string]string{"StopMachine": machd.StopPowerOff, "TerminateMachine": machd.StopUnit, "WaitMachine": machd.StateReady}[method]
		if got := <-answered; got.err != nil || got.text != want {
			t.Errorf("%s: %q, %v, want %q", method, got.text, got.err, want)
		}
	}
}

// The daemon before has ended the machine, and had nobody to tell any more.
func TestAStopThatTheNextDaemonFindsDone(t *testing.T) {
	t.Parallel()
	w, c := connect(t)
	w.Add(machine1test.C8NS())
	w.Hang("StopMachine")
	ended := make(chan error, 1)
	go func() {
		how, err := c.Stop(t.Context(), "c8-ns", machd.StopOptions{})
		if err == nil && how != machd.StopGone {
			err = errors.New(how)
		}
		ended <- err
	}()
	w.AwaitCall("StopMachine")
	w.Remove("c8-ns")
	if err := w.ReplaceMachined(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestWhatIsNotThereIsUnavailable(t *testing.T) {
	t.Parallel()
	w, c := connect(t)
	w.StopMachined()
	if _, err := c.List(t.Context()); !errors.Is(err, machine1.ErrServiceUnknown) {
		t.Errorf("without a daemon: %v", err)
	}
	w.StopBus()
	if _, err := c.List(t.Context()); !errors.Is(err, machine1.ErrDisconnected) {
		t.Errorf("without a bus: %v", err)
	}
	if _, err := client.Dial(t.Context(), w.Address); !errors.Is(err, machine1.ErrDisconnected) || !errors.Is(err, syscall.ENOENT) {
		t.Errorf("connecting without a bus: %v", err)
	}
}

func TestACallEndsWithItsContext(t *testing.T) {
	t.Parallel()
	w, c := connect(t)
	w.Hang("ListMachines")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.List(ctx); !errors.Is(err, machine1.ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want ErrTimeout", err)
	}
	w.Fail("Introspect", machine1test.Error("org.freedesktop.DBus.Error.NoReply", "the service is being ended"))
	ctx, cancel = context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := c.IsMachd(ctx); !errors.Is(err, machine1.ErrTimeout) {
		t.Errorf("while the daemon is restarted: got %v, want ErrTimeout", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if _, err := c.List(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want Canceled", err)
	}
}

func TestStart(t *testing.T) {
	t.Parallel()
	w, c := connect(t)
	for _, name := range []string{"good", "broken", "stuck"} {
		w.AddImage(machine1test.Image{ListedImage: machine1.ListedImage{Name: name}})
	}
	w.SetUnit("systemd-nspawn@broken.service", machine1test.Unit{JobResult: "failed", Properties: map[string]any{
		"Result": "exit-code", "ExecMainCode": int32(1), "ExecMainStatus": int32(1), "InvocationID": []byte{0xab, 0xcd},
	}})
	w.SetUnit("systemd-nspawn@stuck.service", machine1test.Unit{JobResult: "never"})

	if err := c.Start(t.Context(), "good"); err != nil {
		t.Error(err)
	}
	if err := c.Start(t.Context(), "good"); !errors.Is(err, client.ErrRunning) || !errors.Is(err, machine1.ErrMachineExists) {
		t.Errorf("a second start: %v", err)
	}
	var failed *client.StartError
	want := client.StartError{
		Name: "broken", Unit: "systemd-nspawn@broken.service", Job: "failed",
		Result: "exit-code", ExitCode: 1, ExitStatus: 1, Invocation: "abcd",
	}
	if err := c.Start(t.Context(), "broken"); !errors.As(err, &failed) || *failed != want || !errors.Is(err, machine1.ErrJobFailed) {
		t.Errorf("a failed start: %#v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := c.Start(ctx, "stuck"); !errors.Is(err, machine1.ErrTimeout) {
		t.Errorf("a start that does not end: %v", err)
	}
}

func TestSessions(t *testing.T) {
	t.Parallel()
	w, c := connect(t)
	w.Add(machine1test.C8NS())
	s, err := c.OpenShell(t.Context(), "c8-ns", client.ShellCommand{Path: "/bin/echo", Args: []string{"echo", "out"}, Env: []string{"A=B"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if text, err := io.ReadAll(s.Terminal); string(text) != "out\r\n" || !errors.Is(err, syscall.EIO) {
		t.Errorf("got %q, %v", text, err)
	}
	p, err := c.OpenPTY(t.Context(), "c8-ns")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(p.Path, "/dev/pts/") {
		t.Errorf("path %q", p.Path)
	}
	p.Close()
}

func TestRegistering(t *testing.T) {
	t.Parallel()
	w, c := connect(t)
	ctx := t.Context()
	r := client.Registration{Name: "mine", Service: "test", Class: machine1.ClassContainer, Leader: 42, RootDirectory: "/"}
	if err := c.Register(ctx, r); err != nil {
		t.Fatal(err)
	}
	if err := c.Register(ctx, r); !errors.Is(err, machine1.ErrMachineExists) {
		t.Errorf("a second registration: %v", err)
	}
	if err := c.Unregister(ctx, "mine"); err != nil {
		t.Error(err)
	}
	if err := c.RegisterInScope(ctx, r, []machine1.Property{{Name: "Slice", Value: dbus.MakeVariant("machine.slice")}}); err != nil {
		t.Error(err)
	}
	if m, ok := w.Machine("mine"); !ok || m.Properties["Leader"] != uint32(42) {
		t.Errorf("got %+v, %v", m, ok)
	}
}

func TestImages(t *testing.T) {
	t.Parallel()
	w, c := connect(t)
	w.AddImage(machine1test.Image{ListedImage: machine1.ListedImage{Name: "web", Type: "raw", ReadOnly: true, Created: 1, Usage: 5}, Properties: map[string]any{"Limit": uint64(9)}})
	w.AddImage(machine1test.Image{ListedImage: machine1.ListedImage{Name: "a", Type: "directory", Usage: client.Unknown}})
	images, err := c.Images(t.Context())
	want := []client.Image{
		{Name: "a", Type: "directory", Usage: client.Unknown, Limit: client.Unknown, UsageExclusive: client.Unknown, LimitExclusive: client.Unknown},
		{Name: "web", Type: "raw", ReadOnly: true, Created: time.UnixMicro(1), Usage: 5, Limit: client.Unknown, UsageExclusive: client.Unknown, LimitExclusive: client.Unknown},
	}
	if diff := cmp.Diff(want, images); err != nil || diff != "" {
		t.Errorf("%v, want -, got +:\n%s", err, diff)
	}
	image, err := c.Image(t.Context(), "web")
	want[1].Path, want[1].Limit = "/var/lib/machines/web", 9
	if diff := cmp.Diff(want[1], image); err != nil || diff != "" {
		t.Errorf("%v, want -, got +:\n%s", err, diff)
	}
}

func TestAddressesThatAreNoneAreLeftOut(t *testing.T) {
	t.Parallel()
	w, c := connect(t)
	got, err := c.Addresses(t.Context(), ".host")
	want := []netip.Addr{netip.MustParseAddr("192.168.122.231"), netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("fe80::5054:ff:fe12:1")}
	if err != nil || !equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	m := machine1test.C8NS()
	m.Addresses = nil
	w.Add(m)
	if _, err := c.Addresses(t.Context(), "c8-ns"); !errors.Is(err, machine1.ErrNoPrivateNetworking) {
		t.Errorf("got %v, want ErrNoPrivateNetworking", err)
	}
}

func equal(a, b []netip.Addr) bool { return fmt.Sprint(a) == fmt.Sprint(b) }
