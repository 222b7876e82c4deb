package launch

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
)

// likeUnit are properties of each type, as PID 1 tells them of a unit.
func likeUnit() map[string]dbus.Variant {
	like := map[string]dbus.Variant{}
	for name, value := range map[string]any{
		"MemoryHigh": uint64(0), "TasksMax": uint64(0), "TimeoutStartUSec": uint64(0), "Nice": int32(0), "KillSignal": int32(0), "UMask": uint32(0),
		"LogRateLimitBurst": uint32(0), "RemoveIPC": false, "SyslogIdentifier": "", "After": []string{}, "Environment": []string{},
		"AllowedCPUs": []byte{}, "LimitNOFILE": uint64(0), "MainPID": uint32(0), "DeviceAllow": []any{},
	} {
		like[name] = dbus.MakeVariant(value)
	}
	return like
}

func TestAssignmentsAreAsInUnitFiles(t *testing.T) {
	t.Parallel()
	type values map[string]any
	for _, c := range []struct {
		assignments string // one a line
		want        values
	}{
		{"MemoryHigh=1G", values{"MemoryHigh": uint64(1 << 30)}},
		{"MemoryHigh=50%", values{"MemoryHighScale": uint32(math.Round(math.MaxUint32 * 0.5))}},
		{"MemoryHigh=50%\nMemoryHigh=1K", values{"MemoryHigh": uint64(1024)}},
		{"TimeoutStartSec=2min", values{"TimeoutStartUSec": uint64(120_000_000)}},
		{"CPUQuota=20%", values{"CPUQuotaPerSecUSec": uint64(200_000)}},
		{"Nice=-3", values{"Nice": int32(-3)}},
		{"KillSignal=SIGRTMIN+4", values{"KillSignal": int32(38)}},
		{"UMask=027", values{"UMask": uint32(0o27)}},
		{"LogRateLimitBurst=10", values{"LogRateLimitBurst": uint32(10)}},
		{"RemoveIPC=on", values{"RemoveIPC": true}},
		{"SyslogIdentifier=two words", values{"SyslogIdentifier": "two words"}},
		{"After=a.service b.service\nAfter=c.service a.service", values{"After": []string{"a.service", "b.service", "c.service"}}},
		{"After=a.service\nAfter=", values{"After": []string{}}},
		{"Environment=A=1 B=2\nEnvironment=\"A=3 4\"", values{"Environment": []string{"B=2", "A=3 4"}}},
		{"AllowedCPUs=0-2,9", values{"AllowedCPUs": []byte{7, 2}}},
		{"LimitNOFILE=10:20", values{"LimitNOFILE": uint64(20), "LimitNOFILESoft": uint64(10)}},
		{"LimitNOFILE=7", values{"LimitNOFILE": uint64(7), "LimitNOFILESoft": uint64(7)}},
		{"DeviceAllow=/dev/fuse\nDeviceAllow=char-pts r", values{"DeviceAllow": "[{/dev/fuse rwm} {char-pts r}]"}},
		{"DeviceAllow=/dev/fuse\nDeviceAllow=", values{"DeviceAllow": "[]"}},
		{"ExecStartPre=-+/bin/x 'a b' $c", values{"ExecStartPreEx": []command{{"/bin/x", []string{"/bin/x", "a b", "$c"}, []string{"ignore-failure", "privileged"}}}}},
		{"ConditionPathExists=|!/x", values{"Conditions": []condition{{"ConditionPathExists", true, true, "/x"}}}},
		{"AssertHost=h", values{"Asserts": []condition{{"AssertHost", false, false, "h"}}}},
		{"SuccessExitStatus=1 SIGTERM\nSuccessExitStatus=2", values{"SuccessExitStatus": "{[1 2] [15]}"}},
		{"SystemCallFilter=~swapon mount", values{"SystemCallFilter": "{false [swapon mount]}"}},
		{"IOReadBandwidthMax=/dev/sda 1M", values{"IOReadBandwidthMax": "[{/dev/sda 1048576}]"}},
		{"IPAddressAllow=10.0.0.0/8 ::1", values{"IPAddressAllow": "[{2 [10 0 0 0] 8} {10 [0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1] 128}]"}},
		{"BindPaths=/a -/b:/c:norbind", values{"BindPaths": "[{/a /a false 16384} {/b /c true 0}]"}},
		{"EnvironmentFile=-/etc/x", values{"EnvironmentFiles": "[{/etc/x true}]"}},
	} {
		p := properties{}
		for line := range strings.Lines(c.assignments) {
			if err := p.assign(strings.TrimSuffix(line, "\n"), likeUnit()); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
		got := values{}
		for name, value := range p {
			got[name] = value.Value()
			if _, ok := c.want[name].(string); ok { // of a type that has no name
				got[name] = shownStructure(value)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.assignments, diff)
		}
	}
}

// shownStructure checks, too, that a value has the type that PID 1 takes.
func shownStructure(value dbus.Variant) string {
	if text, ok := value.Value().(string); ok {
		return text
	}
	return strings.ReplaceAll(fmt.Sprint(value.Value()), "&", "")
}

func TestAssignmentsThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	for assignment, why := range map[string]string{
		"MemoryHigh":          "is not NAME=VALUE",
		"=1":                  "is not NAME=VALUE",
		"MemoryHigh=big":      "is no size",
		"MemoryHigh=200%":     "is no percentage",
		"NoSuch=1":            "there is no such property",
		"MainPID=1":           "there is no such property, or only a drop-in",
		"Nice=high":           "is no number",
		"KillSignal=SIGNO":    "there is no signal",
		"UMask=9":             "is no number",
		"RemoveIPC=perhaps":   "is neither yes nor no",
		"TimeoutStartSec=x":   "is no time span",
		"Environment=\"open":  "a quote that nothing closes",
		"AllowedCPUs=3-1":     "is no set of numbers",
		"LimitNOFILE=few":     "is no size",
		"LimitNOPE=1":         "there is no such limit",
		"ExecStartPre=true":   "is no absolute path",
		"ExecStartPre=-":      "is no absolute path",
		"ExecStart=/bin/true": "a machine depends on it",
		"Type=simple":         "a machine depends on it",
		"Slice=a.slice":       "a machine depends on it",
		"CPUQuota=2":          "is no percentage",
		"IPAddressAllow=nope": "is no address",
		"DeviceAllow=a b c":   "is not a device",
		"IOReadBandwidthMax=": "",
		"OpenFile=/x":         "only a drop-in",
	} {
		p := properties{}
		err := p.assign(assignment, likeUnit())
		if why == "" && err != nil || why != "" && (err == nil || !strings.Contains(err.Error(), why)) {
			t.Errorf("%s: %v, want %q", assignment, err, why)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		limit, text string
		property    string // "" if it is refused
		value       any
	}{
		{"memory", "200M", "MemoryMax", uint64(200 << 20)}, {"memory", "infinity", "MemoryMax", uint64(math.MaxUint64)},
		{"memory", "30%", "MemoryMaxScale", uint32(1288490189)}, {"memory", "100%", "MemoryMaxScale", uint32(math.MaxUint32)},
		{"memory", "0", "", nil}, {"memory", "0%", "", nil}, {"memory", "101%", "", nil}, {"memory", "-1", "", nil},
		{"cpus", "0.5", "CPUQuotaPerSecUSec", uint64(500_000)}, {"cpus", "12", "CPUQuotaPerSecUSec", uint64(12_000_000)},
		{"cpus", "infinity", "CPUQuotaPerSecUSec", uint64(math.MaxUint64)}, {"cpus", "0", "", nil}, {"cpus", "0.001", "", nil},
		{"cpus", "1e9", "", nil}, {"cpus", "9999999", "", nil}, {"cpus", "50%", "", nil},
		{"tasks", "100", "TasksMax", uint64(100)}, {"tasks", "5%", "TasksMaxScale", uint32(214748365)}, {"tasks", "0", "", nil}, {"tasks", "1K", "", nil},
		{"io_weight", "1", "IOWeight", uint64(1)}, {"io_weight", "10000", "IOWeight", uint64(10000)},
		{"io_weight", "infinity", "IOWeight", uint64(math.MaxUint64)}, {"io_weight", "0", "", nil}, {"io_weight", "10001", "", nil},
	} {
		for _, limit := range limits {
			if limit.option != c.limit {
				continue
			}
			property, value, err := limit.read(c.text)
			if (err == nil) != (c.property != "") || property != c.property || value != c.value {
				t.Errorf("%s %q is %s %v, %v, want %s %v", c.limit, c.text, property, value, err, c.property, c.value)
			}
		}
	}
}
