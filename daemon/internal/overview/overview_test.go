package overview_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/network"
	"github.com/machd/machd/daemon/internal/overview"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// pid1 is a service manager that starts everything at once and keeps it.
type pid1 struct{ machine.Units }

func (pid1) StartTransient(context.Context, string, string, []machine1.Property) (dbus.ObjectPath, error) {
	return "/job/1", nil
}
func (pid1) WaitJob(context.Context, dbus.ObjectPath) (string, error)      { return "done", nil }
func (pid1) ActiveState(context.Context, string) (string, error)           { return "active", nil }
func (pid1) HasProcesses(context.Context, string) (bool, error)            { return true, nil }
func (pid1) Stop(context.Context, string, string) (dbus.ObjectPath, error) { return "/job/2", nil }
func (pid1) Unref(context.Context, string) error                           { return nil }

// newMachines returns a Manager that knows n containers besides the host, m0 and
// so on.
func newMachines(tb testing.TB, n int) *machine.Manager {
	tb.Helper()
	root := tb.TempDir()
	must(tb, os.Mkdir(filepath.Join(root, "etc"), 0o755))
	must(tb, os.WriteFile(filepath.Join(root, "etc/machine-id"), []byte("0123456789abcdef0123456789abcdef\n"), 0o644))
	m, err := machine.New(machine.Config{
		Dir: filepath.Join(root, "machines"), Root: root, Units: pid1{}, Log: slog.New(slog.DiscardHandler), Emit: func(machine.Event) {},
	})
	must(tb, err)
	ctx, stop := context.WithCancel(context.WithoutCancel(tb.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Run(ctx)
	}()
	tb.Cleanup(func() {
		stop()
		<-done
	})
	for i := range n {
		leader, err := proc.Open(child(tb))
		must(tb, err)
		_, err = m.Create(tb.Context(), machine.Registration{
			Name: fmt.Sprintf("m%d", i), Class: machine1.ClassContainer, Leader: leader, VSockCID: machine1.VSockCIDAny,
		}, nil, true)
		must(tb, err)
	}
	return m
}

// child returns a process in a network of its own that ends with the test.
func child(tb testing.TB) int {
	tb.Helper()
	cmd := exec.Command("sleep", "infinity")
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	}
	must(tb, cmd.Start())
	tb.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// guests answer for machines: those in hung not at all.
type guests struct{ hung map[int]bool }

func (g guests) OSRelease(ctx context.Context, leader *proc.PIDFD) (map[string]string, error) {
	if leader != nil && g.hung[leader.PID()] {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return map[string]string{"ID": "debian", "VERSION_ID": "13", "PRETTY_NAME": "Debian 13", "ANSI_COLOR": "1;31"}, nil
}

func TestMachinesThatHangCostTheOthersNothing(t *testing.T) {
	t.Parallel()
	machines := newMachines(t, 8)
	hung := map[int]bool{}
	for _, name := range []string{"m1", "m3", "m5"} {
		m, _ := machines.View().Get(name)
		hung[m.Leader.PID()] = true
	}
	const patience = time.Second
	viewer := overview.Viewer{Machines: machines, Inside: guests{hung}}
	begun := time.Now()
	rows, err := viewer.Of(t.Context(), nil, machd.OverviewOptions{Patience: patience}, nil)
	must(t, err)
	if took := time.Since(begun); took < patience || took >= 3*patience {
		t.Errorf("it took %v", took)
	}
	if len(rows) != 9 {
		t.Fatalf("%d machines: %+v", len(rows), rows)
	}
	for _, r := range rows {
		want, id := "", "debian"
		if hung[int(r.Leader)] {
			want, id = machine1.ErrorName(machine1.ErrTimeout), ""
		}
		if r.OSError != want || r.OSID != id {
			t.Errorf("%s: %q, error %q; want %q, %q", r.Name, r.OSID, r.OSError, id, want)
		}
	}
}

func TestTheCallersEndEndsTheOverview(t *testing.T) {
	t.Parallel()
	machines := newMachines(t, 1)
	m, _ := machines.View().Get("m0")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	viewer := overview.Viewer{Machines: machines, Inside: guests{map[int]bool{m.Leader.PID(): true}}}
	begun := time.Now()
	if _, err := viewer.Of(ctx, nil, machd.OverviewOptions{Patience: time.Minute}, nil); err == nil || time.Since(begun) > 10*time.Second {
		t.Errorf("it ends with %v after %v", err, time.Since(begun))
	}
}

// links have a network for m1.
type links struct{}

func (links) Glances() map[string]network.Glance {
	return map[string]network.Glance{"m1": {Link: "vz-lab", Zone: "lab", Ports: []string{"8080:80/tcp"}, Inward: []string{"53/udp"}}}
}

func TestWhatIsOnRecordIsTold(t *testing.T) {
	t.Parallel()
	machines := newMachines(t, 2)
	viewer := overview.Viewer{Machines: machines, Inside: guests{}, Networks: links{}}
	rows, err := viewer.Of(t.Context(), []string{"m1"}, machd.OverviewOptions{}, nil)
	must(t, err)
	m, _ := machines.View().Get("m1")
	if len(rows) != 1 || rows[0].Leader != uint32(m.Leader.PID()) || rows[0].Since != m.Realtime || rows[0].Unit != m.Unit ||
		rows[0].State != string(machine1.StateRunning) || rows[0].OSName != "Debian 13" {
		t.Fatalf("%+v", rows)
	}
	r := rows[0]
	if r.Link != "vz-lab" || r.Zone != "lab" || !slices.Equal(r.Ports, []string{"8080:80/tcp"}) || !slices.Equal(r.Inward, []string{"53/udp"}) {
		t.Errorf("of its network: %+v", r)
	}
}

// The host shares its networking with itself, and has addresses nevertheless.
func TestTheHostsAddressesAreNotPrivate(t *testing.T) {
	t.Parallel()
	viewer := overview.Viewer{Machines: newMachines(t, 0), Inside: guests{}}
	rows, err := viewer.Of(t.Context(), []string{machine1.Host}, machd.OverviewOptions{}, nil)
	must(t, err)
	if len(rows) != 1 || rows[0].AddressError != "" {
		t.Errorf("%+v", rows)
	}
}

func BenchmarkOverview(b *testing.B) {
	machines := newMachines(b, 200)
	viewer := overview.Viewer{Machines: machines, Inside: inside.NewGuard(slog.New(slog.DiscardHandler))}
	for b.Loop() {
		rows, err := viewer.Of(b.Context(), nil, machd.OverviewOptions{}, nil)
		if err != nil || rows[1].OSID == "" || rows[1].AddressError != "" {
			b.Fatalf("%+v, %v", rows[1], err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*201), "µs/machine")
}
