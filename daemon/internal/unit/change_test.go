package unit

import (
	"testing"

	"github.com/godbus/dbus/v5"
)

func TestChangesAreRead(t *testing.T) {
	t.Parallel()
	type properties = map[string]dbus.Variant
	for name, tt := range map[string]struct {
		body []any
		want Change
	}{
		"a unit": {[]any{unitInterface, properties{
			"ActiveState": dbus.MakeVariant("failed"), "InvocationID": dbus.MakeVariant([]byte{0xc0, 0xff, 0xee}),
		}, []string{}}, Change{State: "failed", Invocation: "c0ffee"}},
		"a service": {[]any{serviceInterface, properties{
			"Result": dbus.MakeVariant("signal"), "ExecMainCode": dbus.MakeVariant(int32(2)), "ExecMainStatus": dbus.MakeVariant(int32(9)),
		}, []string{}}, Change{Result: "signal", Code: 2, Status: 9}},
		"a scope": {[]any{scopeInterface, properties{"Result": dbus.MakeVariant("oom-kill")}, []string{}}, Change{Result: "oom-kill"}},
		"a timer": {[]any{"org.freedesktop.systemd1.Timer", properties{"Result": dbus.MakeVariant("success")}, []string{}}, Change{}},
		"of other types": {[]any{serviceInterface, properties{
			"Result": dbus.MakeVariant(uint32(1)), "ExecMainCode": dbus.MakeVariant("2"),
		}, []string{}}, Change{}},
		"nothing": {nil, Change{}},
		"no map":  {[]any{unitInterface, "ActiveState"}, Change{}},
	} {
		if got := changeOf(&dbus.Signal{Body: tt.body}); got != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
}
