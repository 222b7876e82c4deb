package inside_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/pkg/machine1"
)

func TestBoot(t *testing.T) {
	t.Parallel()
	m := startMachine(t, bare, true)
	g := newGuard(t)
	for _, step := range []struct {
		order order
		want  inside.Boot
	}{
		{order{Do: "mkdir", Path: "/run/systemd/units"}, inside.Boot{}},
		{order{Do: "write", Path: "/run/systemd/private"}, inside.Boot{Systemd: true}},
		{order{Do: "write", Path: "/run/nologin"}, inside.Boot{Systemd: true, NoLogin: true}},
		{order{Do: "write", Path: "/run/dbus/system_bus_socket"}, inside.Boot{Systemd: true, NoLogin: true, Bus: true}},
		{order{Do: "symlink", Path: "/run/systemd/units/invocation:systemd-user-sessions.service", Text: "0123"},
			inside.Boot{Systemd: true, NoLogin: true, Bus: true, Users: true}},
		{order{Do: "remove", Path: "/run/nologin"}, inside.Boot{Systemd: true, Bus: true, Users: true}},
		// A link of the machine's leads nowhere outside of it.
		{order{Do: "remove", Path: "/run/systemd"}, inside.Boot{Bus: true}},
		{order{Do: "symlink", Path: "/run/systemd", Text: "/../../../run/systemd"}, inside.Boot{Bus: true}},
	} {
		m.do(t, step.order)
		got, err := g.Boot(t.Context(), m.leader)
		if got.Program == "" {
			t.Error("the leader runs nothing")
		}
		got.Program = ""
		if err != nil || got != step.want {
			t.Errorf("after %+v: %+v, %v, want %+v", step.order, got, err, step.want)
		}
	}
	m.kill()
	if _, err := g.Boot(t.Context(), m.leader); !errors.Is(err, unix.ESRCH) {
		t.Errorf("of a machine that is gone: %v", err)
	}
}

func TestAwaitState(t *testing.T) {
	t.Parallel()
	m := startBusMachine(t, &shiftedIDs)
	g := newGuard(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var seen []string
	err := g.AwaitState(ctx, m.leader, func(state string) bool {
		if !slices.Contains(seen, state) {
			seen = append(seen, state)
		}
		if state == "starting" {
			m.do(t, order{Do: "set state", Text: "degraded"})
		}
		return state == "degraded"
	})
	if err != nil || !slices.Equal(seen, []string{"starting", "degraded"}) {
		t.Errorf("it went through %q, %v", seen, err)
	}
	// Many may wait at once, and each is told.
	m.do(t, order{Do: "set state", Text: "starting"})
	told := make(chan error)
	for range 20 {
		go func() {
			told <- g.AwaitState(ctx, m.leader, func(state string) bool { return state == "running" })
		}()
	}
	time.Sleep(100 * time.Millisecond)
	m.do(t, order{Do: "set state", Text: "running"})
	for range 20 {
		if err := <-told; err != nil {
			t.Errorf("one of many: %v", err)
		}
	}
	// There is a bus without a service manager.
	m.do(t, order{Do: "leave the bus"})
	if err := g.AwaitState(ctx, m.leader, func(state string) bool { return state == "" }); err != nil {
		t.Errorf("without a service manager: %v", err)
	}
	// It may be waited for in vain, and ends with the machine.
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := g.AwaitState(short, m.leader, func(string) bool { return false }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("in the end: %v", err)
	}
	time.AfterFunc(50*time.Millisecond, func() { _ = m.leader.Signal(unix.SIGKILL) })
	if err := g.AwaitState(ctx, m.leader, func(string) bool { return false }); err == nil || ctx.Err() != nil {
		t.Errorf("of a machine that ends: %v", err)
	}
}

// A bus that means harm costs whoever waits for it nothing but time.
func TestAwaitStateOfAHostileBus(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"refuses", "hangs up", "endless line", "huge message", "endless messages", "noise", "silent"} {
		m := startMachine(t, bare, true)
		m.do(t, order{Do: "hostile bus", Text: how})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		err := newGuard(t).AwaitState(ctx, m.leader, func(string) bool { return true })
		cancel()
		if err == nil {
			t.Errorf("%s: it has told its state", how)
		}
	}
	without := startMachine(t, bare, true)
	if err := newGuard(t).AwaitState(t.Context(), without.leader, nil); !errors.Is(err, machine1.ErrFileNotFound) {
		t.Errorf("without a bus: %v", err)
	}
}
