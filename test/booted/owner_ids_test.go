package booted

import (
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/test/live"
)

// complexMaps are user namespaces in which one shift does not tell who is who.
var complexMaps = map[string][2][]syscall.SysProcIDMap{
	"ids-split": {
		{{ContainerID: 0, HostID: 3_000_000, Size: 1000}, {ContainerID: 1000, HostID: 3_500_000, Size: 64_536}},
		{{ContainerID: 0, HostID: 3_700_000, Size: 65_536}},
	},
	"ids-punched": { // one of the host's users shows through
		{{ContainerID: 0, HostID: 4_000_000, Size: 1000}, {ContainerID: 1000, HostID: 1000, Size: 1}, {ContainerID: 1001, HostID: 4_001_001, Size: 60_000}},
		{{ContainerID: 0, HostID: 4_000_000, Size: 1000}, {ContainerID: 1000, HostID: 1000, Size: 1}, {ContainerID: 1001, HostID: 4_001_001, Size: 60_000}},
	},
	"ids-rootless": {
		{{ContainerID: 5, HostID: 5_000_000, Size: 10}},
		{{ContainerID: 7, HostID: 5_100_000, Size: 10}},
	},
	"ids-plain": {
		{{ContainerID: 0, HostID: 6_000_000, Size: 65_536}},
		{{ContainerID: 0, HostID: 6_000_000, Size: 65_536}},
	},
}

// startMapped makes a machine of a process in a user namespace of its own.
func startMapped(t *testing.T, w *watcher, name string, maps [2][]syscall.SysProcIDMap) {
	t.Helper()
	cmd := exec.Command("sleep", "infinity")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER, UidMappings: maps[0], GidMappings: maps[1], GidMappingsEnableSetgroups: true,
	}
	must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	create(t, w, name, cmd.Process.Pid)
}

// mapOn is an answer of the daemon about an id, in one line, as D-Bus gives it.
func mapOn(t *testing.T, w *watcher, member string, args ...any) string {
	t.Helper()
	var name, path string
	var id uint32
	out := []any{&id}
	if strings.HasPrefix(member, "MapTo") {
		out = []any{&name, &path, &id}
	}
	if err := w.call(t, member, args, out...); err != nil {
		return machine1.ErrorName(err)
	}
	return strings.TrimSpace(fmt.Sprint(id, " ", name))
}

// mapOnVarlink is the same as Varlink gives it.
func mapOnVarlink(t *testing.T, method, field, parameters string) string {
	t.Helper()
	answer, err := varlinkCall(t, "root", "io.systemd.Machine."+method, parameters)
	if err != nil {
		return err.Error()
	}
	name, _ := answer["machineName"].(string)
	return strings.TrimSpace(fmt.Sprintf("%.0f %s", answer[field], name))
}

// Whoever asks, on either face, is told the same of an id.
func TestIDsOfMachines(t *testing.T) {
	w := watch(t)
	for name, maps := range complexMaps {
		startMapped(t, w, name, maps)
	}
	const noUser, noGroup = "org.freedesktop.machine1.NoSuchUserMapping", "org.freedesktop.machine1.NoSuchGroupMapping"
	for _, row := range []struct {
		machine            string
		id                 uint32
		user, group, again string // outside; and what the user outside is again
	}{
		{"ids-plain", 0, "6000000", "6000000", "0 ids-plain"},
		{"ids-plain", 65_534, "6065534", "6065534", "65534 ids-plain"},
		{"ids-plain", 65_536, noUser, noUser, ""},
		{"ids-split", 999, "3000999", "3700999", "999 ids-split"},
		{"ids-split", 1000, "3500000", "3701000", "1000 ids-split"},
		{"ids-punched", 999, "4000999", "4000999", "999 ids-punched"},
		{"ids-punched", 1000, "1000", "1000", noUser},
		{"ids-punched", 1001, "4001001", "4001001", "1001 ids-punched"},
		{"ids-rootless", 0, noUser, noUser, ""},
		{"ids-rootless", 5, "5000000", noUser, "5 ids-rootless"},
		{"ids-rootless", 14, "5000009", "5100007", "14 ids-rootless"},
	} {
		user, group := mapOn(t, w, "MapFromMachineUser", row.machine, row.id), mapOn(t, w, "MapFromMachineGroup", row.machine, row.id)
		if user != row.user || group != row.group {
			t.Errorf("%d of %s is %s and %s, want %s and %s", row.id, row.machine, user, group, row.user, row.group)
		}
		newFaces := live.Host.Machd || live.Host.Version >= 258
		if newFaces {
			for field, want := range map[string]string{"uid": row.user, "gid": row.group} {
				if want == noUser {
					want = map[string]string{"uid": "io.systemd.Machine.NoSuchUser", "gid": "io.systemd.Machine.NoSuchGroup"}[field]
				}
				if got := mapOnVarlink(t, "MapFrom", field, fmt.Sprintf(`{"name":%q,%q:%d}`, row.machine, field, row.id)); got != want {
					t.Errorf("%s %d of %s is %s on Varlink, want %s", field, row.id, row.machine, got, want)
				}
			}
		}
		if row.again == "" {
			continue
		}
		var outer uint32
		_, err := fmt.Sscan(row.user, &outer)
		must(t, err)
		if again := mapOn(t, w, "MapToMachineUser", outer); again != row.again {
			t.Errorf("%d is %s, want %s", outer, again, row.again)
		}
		if want := row.again; newFaces && want != noUser {
			if again := mapOnVarlink(t, "MapTo", "uid", fmt.Sprintf(`{"uid":%d}`, outer)); again != want {
				t.Errorf("%d is %s on Varlink, want %s", outer, again, want)
			}
		}
	}
	for _, outer := range []uint32{3_500_000 + 64_536, 7_000_000} {
		if got := mapOn(t, w, "MapToMachineUser", outer); got != noUser {
			t.Errorf("user %d is %s", outer, got)
		}
		if got := mapOn(t, w, "MapToMachineGroup", outer); got != noGroup {
			t.Errorf("group %d is %s", outer, got)
		}
	}
	// Only one shift can be told as one.
	var shift uint32
	must(t, w.call(t, "GetMachineUIDShift", []any{"ids-plain"}, &shift))
	if shift != 6_000_000 {
		t.Errorf("the shift is %d", shift)
	}
	for _, name := range []string{"ids-split", "ids-punched", "ids-rootless"} {
		wantError(t, w.call(t, "GetMachineUIDShift", []any{name}, &shift), machine1.ErrNotSupported)
	}
}
