package client

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/machd/machd/pkg/machd"
)

// endWithHost has those ended that ran until their host went down. What began
// in this boot and has not ended runs.
func (h *history) endWithHost(ctx context.Context) error {
	now, err := bootID()
	if err != nil {
		return err
	}
	for _, m := range h.running {
		if m.Boot != now {
			h.down = append(h.down, m)
		}
	}
	ends := map[string]time.Time{}
	for _, m := range h.down {
		end, known := ends[m.Boot]
		if !known {
			if end, err = h.lastEntry(ctx, m.Boot); err != nil {
				return err
			}
			ends[m.Boot] = end
		}
		m.To = end
		m.Ending.Result = machd.EndedHostCrash
		if h.orderly[m.Boot] {
			m.Ending.Result = machd.EndedHostShutdown
		}
	}
	h.ended = append(h.ended, h.down...)
	slices.SortStableFunc(h.ended, func(a, b *PastMachine) int { return a.last().Compare(b.last()) })
	return nil
}

// last is the last that is known of m.
func (m *PastMachine) last() time.Time {
	if m.To.IsZero() {
		return m.From
	}
	return m.To
}

func bootID() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("cannot tell which boot this is: %w", err)
	}
	return strings.ReplaceAll(strings.TrimSpace(string(text)), "-", ""), nil
}

// lastEntry returns the time of the last entry of a boot, which is as near to
// its end as anybody can tell.
func (h *history) lastEntry(ctx context.Context, boot string) (time.Time, error) {
	for e, err := range journal(ctx, h.scope, "--boot="+boot, "--lines=1", "--output-fields=_BOOT_ID") {
		if err != nil {
			return time.Time{}, err
		}
		return e.when(), nil
	}
	return time.Time{}, nil
}
