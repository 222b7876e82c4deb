package task_test

import (
	"context"
	"errors"
	"testing"

	"github.com/machd/machd/daemon/internal/task"
)

func TestFirstErrorEndsAllAndIsReturned(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	ended := false
	err := task.Run(t.Context(),
		func(context.Context) error { return broken },
		func(ctx context.Context) error { <-ctx.Done(); ended = true; return nil },
	)
	if !errors.Is(err, broken) {
		t.Errorf("Run returned %v, want %v", err, broken)
	}
	if !ended {
		t.Error("Run returned before every task had ended")
	}
}

func TestEndOfTheContextIsNoError(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	err := task.Run(ctx,
		func(ctx context.Context) error { <-ctx.Done(); return nil },
		func(context.Context) error { cancel(); return nil },
	)
	if err != nil {
		t.Errorf("Run returned %v, want nil", err)
	}
}
