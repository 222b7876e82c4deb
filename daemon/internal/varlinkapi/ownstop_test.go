package varlinkapi

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/operation"
	"github.com/machd/machd/pkg/machd"
)

func (n *network) Wait(ctx context.Context, _ machine.Machine, _ machd.WaitOptions) (state, note string, err error) {
	if n.hang.Load() {
		n.waits.Add(1)
		defer n.waits.Add(-1)
		<-ctx.Done()
		return "", "", ctx.Err()
	}
	return machd.StateReady, "", nil
}

func TestOneUserDoesNotWaitTooOften(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.register(t, "m", nil)
	f.network.hang.Store(true)
	f.uid.Store(4242)
	wait := func() stream { return begin(t, f.path, machd.MachineVarlink+".Wait", input{"name": "m"}, false) }
	for range operation.MaxWaits {
		wait()
	}
	for deadline := time.Now().Add(20 * time.Second); f.network.waits.Load() != operation.MaxWaits; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d calls wait", f.network.waits.Load())
		}
	}
	if got := wait().next(); !strings.Contains(got, "You wait for 16 machines already") {
		t.Errorf("one more: %s", got)
	}
}
