package execution

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/machd/machd/daemon/internal/proc"
)

// silent is a machine whose service manager does not answer for a while.
type silent struct {
	Inside
	until time.Time
	calls int
}

func (s *silent) StopCommand(ctx context.Context, _ *proc.PIDFD, _ string) error {
	s.calls++
	if time.Now().Before(s.until) {
		return errors.New("silent")
	}
	return ctx.Err()
}

func TestWhatWasLeftIsEndedOnceTheMachineListens(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		silent time.Duration
		left   bool // the daemon ends first
	}{
		{"it listens", 0, false},
		{"it is silent for a while", 3 * time.Minute, false},
		{"it is silent for longer than the daemon lives", time.Hour, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			record := filepath.Join(dir, hostLeader+" machd-exec-1.service")
			if err := os.WriteFile(record, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				const lives = 10 * time.Minute
				begun := time.Now()
				in, log := &silent{until: begun.Add(tt.silent)}, &bytes.Buffer{}
				s := New(Config{Inside: in, Records: dir, Log: slog.New(slog.NewTextHandler(log, nil))})
				ctx, cancel := context.WithTimeout(t.Context(), lives)
				defer cancel()
				if err := s.Run(ctx); err != nil {
					t.Error(err)
				}
				if took := time.Since(begun); took != lives {
					t.Errorf("Run has ended after %s, its context after %s", took, lives)
				}
				if _, err := os.Stat(record); (err == nil) != tt.left {
					t.Errorf("after %d calls the record is left: %t, want %t", in.calls, err == nil, tt.left)
				}
				warnings := strings.Count(log.String(), "Cannot end a command")
				if want := min(1, int(tt.silent)); warnings != want {
					t.Errorf("%d warnings, want %d:\n%s", warnings, want, log)
				}
				if most := 3 + int(lives/endPauseLongest); in.calls > most {
					t.Errorf("it was asked %d times, want %d at most", in.calls, most)
				}
			})
		})
	}
}
