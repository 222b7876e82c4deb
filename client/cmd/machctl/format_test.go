package main

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machine1"
)

func TestSize(t *testing.T) {
	t.Parallel()
	for bytes, want := range map[uint64]string{
		0: "0B", 1023: "1023B", 1024: "1K", 1536: "1.5K", 1610612736: "1.5G", 10 << 30: "10G", 417333248: "398M",
		1<<20 - 1: "1023.9K", 1 << 60: "1E", ^uint64(0) - 1: "15.9E", 3 << 59: "1.5E",
	} {
		if got := size(bytes); got != want {
			t.Errorf("size(%d) = %s, want %s", bytes, got, want)
		}
	}
}

func TestParseSignal(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]unix.Signal{
		"TERM": unix.SIGTERM, "SIGTERM": unix.SIGTERM, "sigterm": unix.SIGTERM, "15": unix.SIGTERM, "64": 64,
		"RTMIN": 34, "SIGRTMIN+4": 38, "RTMIN+30": 64, "RTMAX": 64, "RTMAX-1": 63,
	} {
		if got, err := parseSignal(text, false); err != nil || got != want {
			t.Errorf("parseSignal(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "65", "-1", "NOPE", "RTMIN-1", "RTMIN+31", "RTMAX+1", "SIG"} {
		if got, err := parseSignal(text, false); err == nil {
			t.Errorf("parseSignal(%q) = %d", text, got)
		}
	}
}

func TestPropertyText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		value any
		want  string
		shown bool
	}{
		{"Name", "c8-ns", "c8-ns", true},
		{"Service", "", "", false},
		{"RootDirectory", "a\nb", "[unprintable]", false},
		{"RootDirectory", "\x1b[2J", "[unprintable]", false},
		{"ReadOnly", true, "yes", true},
		{"ReadOnly", false, "no", true},
		{"Timestamp", uint64(0), "", false},
		{"TimestampMonotonic", uint64(0), "0", true},
		{"Limit", ^uint64(0), "infinity", true},
		{"LimitExclusive", ^uint64(0), "infinity", true},
		{"PoolLimit", ^uint64(0), "18446744073709551615", true},
		{"Usage", uint64(7), "7", true},
		{"UID", ^uint32(0), "[not set]", true},
		{"VSockCID", ^uint32(0), "4294967295", true},
		{"Id", []byte{0x8b, 1}, "8b01", true},
		{"Id", []byte{}, "", false},
		{"NetworkInterfaces", []int32{2, 7}, "2 7", false},
		{"Words", []string{"a", "b c", ""}, `a "b c" ""`, true},
		{"Odd", map[string]string{}, "[unprintable]", false},
	} {
		text, shown := propertyText(machine1.Property{Name: c.name, Value: dbus.MakeVariant(c.value)})
		if text != c.want || shown != c.shown {
			t.Errorf("%s %v is shown as %q, %v, want %q, %v", c.name, c.value, text, shown, c.want, c.shown)
		}
	}
}

func TestNearestName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"work_dev": "work-dev", "debian_0.2": "debian-0.2", "a..b": "a.b", "-x": "x", "_": "", "日本": "", ".host": "host",
	} {
		if got := nearestName(name); got != want {
			t.Errorf("nearestName(%q) = %q, want %q", name, got, want)
		}
	}
}

// Whatever is refused, the reason must be found: nothing is indexed that is
// not there.
func FuzzNameFault(f *testing.F) {
	for _, name := range []string{"", "-", ".", "a-", "a.-b", "é", "\xff", "a\x00"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if machine1.ValidMachineName(name) {
			return
		}
		if nameFault(name) == "" {
			t.Errorf("no fault found in %q", name)
		}
		if better := nearestName(name); better != "" && !machine1.ValidMachineName(better) {
			t.Errorf("%q is offered for %q", better, name)
		}
	})
}

func FuzzPrintable(f *testing.F) {
	f.Add("plain")
	f.Add("\x1b[31mred\x9b\u0085")
	f.Fuzz(func(t *testing.T, text string) {
		for _, r := range printable(text) {
			if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
				t.Errorf("%q keeps %q", text, r)
			}
		}
	})
}
