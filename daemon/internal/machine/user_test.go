package machine

import "testing"

// A user's service manager has units of its own; what else a user runs is his
// as well, but no unit that it could stop.
func TestUnitsForAUsersManager(t *testing.T) {
	t.Parallel()
	const session, manager = "/user.slice/user-1000.slice/session-3.scope", "/user.slice/user-1000.slice/user@1000.service"
	own, system := &Manager{user: true}, &Manager{}
	for _, tt := range []struct {
		m              *Manager
		cgroup         string
		unit, subgroup string
		owned          bool
	}{
		{own, manager + "/machine.slice/c.scope", "c.scope", "", true},
		{own, manager + "/app.slice/x.service/payload", "x.service", "payload", true},
		{own, session, "session-3.scope", "", false},
		{own, "/system.slice/x.service", "x.service", "", false},
		{system, manager + "/machine.slice/c.scope", "user@1000.service", "machine.slice/c.scope", true},
		{system, "/system.slice/x.service", "x.service", "", false},
	} {
		unit, subgroup, err := tt.m.unitOf(tt.cgroup)
		if unit != tt.unit || subgroup != tt.subgroup || err != nil {
			t.Errorf("user %t, %s: %q and %q, %v", tt.m.user, tt.cgroup, unit, subgroup, err)
		}
		if got := tt.m.mayOwn(Machine{Name: "c", UID: 1000, Unit: unit}, tt.cgroup); got != tt.owned {
			t.Errorf("user %t, %s: owned %t", tt.m.user, tt.cgroup, got)
		}
	}
}
