package machd

import (
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
)

func TestUsageGoesOverTheBusAndBack(t *testing.T) {
	t.Parallel()
	one, two, three, four, none := uint64(1), uint64(2), uint64(3), uint64(4), uint64(0)
	for _, want := range []Usage{
		{},
		{CPU: &one, Tasks: &none},
		{CPU: &one, Memory: &two, Tasks: &three, IORead: &four, IOWrite: &none},
	} {
		if diff := cmp.Diff(want, UsageOf(want.Variants())); diff != "" {
			t.Error(diff)
		}
	}
}

func TestUsagePassesOverWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	seven := uint64(7)
	got := UsageOf(map[string]dbus.Variant{
		"memory":   dbus.MakeVariant(seven),
		"tasks":    dbus.MakeVariant("many"),
		"pressure": dbus.MakeVariant(0.5),
	})
	if diff := cmp.Diff(Usage{Memory: &seven}, got); diff != "" {
		t.Error(diff)
	}
}
