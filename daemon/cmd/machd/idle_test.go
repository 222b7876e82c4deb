package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/machd/machd/pkg/dbustest"
	"github.com/machd/machd/pkg/machine1"
)

func TestIdleEndsAfterTheLastOfAll(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	for _, tt := range []struct {
		name   string
		calls  pulse
		states pulse
		want   time.Duration
	}{
		{"from the start", still, still, idleTime},
		{"a call", callsUntil(12 * time.Second), still, idleTime + 15*time.Second},
		{"a machine", still, busyUntil(time.Hour), idleTime + time.Hour - idleStep},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began = time.Now()
				err := watchIdle(slog.New(slog.DiscardHandler), tt.calls, tt.states)(t.Context())
				if d := time.Since(began); !errors.Is(err, errIdle) || d != tt.want {
					t.Errorf("after %v: %v, want %v", d, err, tt.want)
				}
			})
		})
	}
}

// began is when the test that runs did.
var began time.Time

func still() (uint64, bool) { return 7, false }

// callsUntil is one call a second.
func callsUntil(end time.Duration) pulse {
	return func() (uint64, bool) { return uint64(min(time.Since(began), end) / time.Second), false }
}

func busyUntil(end time.Duration) pulse {
	return func() (uint64, bool) { return 0, time.Since(began) < end }
}

func TestIdleEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := watchIdle(slog.New(slog.DiscardHandler), still)(ctx); err != nil {
		t.Error(err)
	}
}

func TestOnlyAUsersDaemonEndsWhenIdle(t *testing.T) {
	for _, tt := range []struct {
		user  bool
		value string
		want  bool
	}{{true, "", true}, {true, "1", true}, {true, "0", false}, {false, "", false}, {false, "1", false}} {
		t.Setenv("SYSTEMD_EXIT_ON_IDLE", tt.value)
		if got := exitsOnIdle(instance{user: tt.user}); got != tt.want {
			t.Errorf("user %t, SYSTEMD_EXIT_ON_IDLE=%q: %t", tt.user, tt.value, got)
		}
	}
}

// A daemon that nobody starts again stays: before systemd 259 a user's bus does not.
func TestStartedByBus(t *testing.T) {
	t.Parallel()
	if startedByBus(t.Context(), dbustest.New(t).Dial()) {
		t.Error("a bus that knows no service is said to start it")
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"x.service": "[D-BUS Service]\nName=" + machine1.BusName + "\nExec=/bin/false\n",
		"x.conf":    "<busconfig><servicedir>" + dir + "</servicedir></busconfig>",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	conn := dbustest.NewSystem(t, filepath.Join(dir, "x.conf")).Dial()
	if !startedByBus(t.Context(), conn) {
		t.Error("a bus that knows the service is said not to start it")
	}
}
