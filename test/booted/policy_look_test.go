package booted

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/pkg/bus"
	machd1 "github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/test/live"
)

// openToAll are the methods that need no right, by their names on the Manager.
// Beyond them, everybody may read all properties.
var openToAll = []string{
	"GetMachine", "GetImage", "GetMachineByPID", "ListMachines", "ListImages", "GetMachineAddresses", "GetMachineSSHInfo", "GetMachineUIDShift",
	"GetImageHostname", "GetImageMachineID", "GetImageMachineInfo", "GetImageOSRelease",
	"MapFromMachineUser", "MapFromMachineGroup", "MapToMachineUser", "MapToMachineGroup",
}

// formerlyOpen needs a right since 261, and of machd always.
const formerlyOpen = "GetMachineOSRelease"

// closedByPolicy are methods open to all that the bus policy of 257 keeps to
// root.
var closedByPolicy = []string{"GetMachineSSHInfo"}

// everyCall are arguments for each method of the Manager, about a machine and
// an image of root's and a process of the caller's.
func everyCall(machine, image string, leader, own uint32) map[string][]any {
	pair := []any{machine, "/etc/hostname", "/tmp/policy-was-here"}
	flagged := append(slices.Clone(pair), uint64(1))
	register := []any{"policy-mine", []byte{}, "tester", "container", own, ""}
	properties := []machine1.Property{}
	return map[string][]any{
		"GetMachine": {machine}, "GetImage": {image}, "GetMachineByPID": {leader}, "ListMachines": {}, "ListImages": {},
		"CreateMachine": append(slices.Clone(register), properties), "CreateMachineEx": {"policy-mine", properties, properties},
		"CreateMachineWithNetwork": append(slices.Clone(register), []int32{}, properties),
		"RegisterMachine":          register, "RegisterMachineEx": {"policy-mine", properties},
		"RegisterMachineWithNetwork": append(slices.Clone(register), []int32{}),
		"UnregisterMachine":          {machine}, "TerminateMachine": {machine}, "KillMachine": {machine, "leader", int32(18)},
		"GetMachineAddresses": {machine}, "GetMachineSSHInfo": {machine}, "GetMachineOSRelease": {machine}, "GetMachineUIDShift": {machine},
		"OpenMachinePTY": {machine}, "OpenMachineLogin": {machine}, "OpenMachineShell": {machine, "", "", []string{}, []string{}},
		"BindMountMachine": {machine, "/etc/hostname", "/etc/hostname", true, true}, "OpenMachineRootDirectory": {machine},
		"CopyFromMachine": pair, "CopyToMachine": pair, "CopyFromMachineWithFlags": flagged, "CopyToMachineWithFlags": flagged,
		"RemoveImage": {image}, "RenameImage": {image, "policy-renamed"}, "CloneImage": {image, "policy-cloned", false},
		"MarkImageReadOnly": {image, true}, "SetImageLimit": {image, uint64(1 << 40)}, "SetPoolLimit": {uint64(1 << 40)}, "CleanPool": {"hidden"},
		"GetImageHostname": {image}, "GetImageMachineID": {image}, "GetImageMachineInfo": {image}, "GetImageOSRelease": {image},
		"MapFromMachineUser": {machine, uint32(0)}, "MapFromMachineGroup": {machine, uint32(0)},
		"MapToMachineUser": {uint32(1 << 20)}, "MapToMachineGroup": {uint32(1 << 20)},
	}
}

// Who has no right reads exactly what is documented, on D-Bus.
func TestWhatUsersMayLookAt(t *testing.T) {
	w, bob := watch(t), dialAs(t, "bob")
	const name, image = "policy-looked-at", "policy-image"
	startByHand(t, w, name)
	must(t, os.MkdirAll(guests+"/"+image+"/etc", 0o755))
	t.Cleanup(func() { os.RemoveAll(guests + "/" + image) })
	calls := everyCall(name, image, w.properties(t, name)["Leader"].(uint32), startOwn(t, "bob"))

	open := slices.Clone(openToAll)
	if !live.Host.Machd && live.Host.Version < 261 {
		open = append(open, formerlyOpen)
	}
	if !live.Host.Machd && live.Host.Version < 258 {
		open = slices.DeleteFunc(open, func(member string) bool { return slices.Contains(closedByPolicy, member) })
	}
	for _, object := range []struct {
		path  dbus.ObjectPath
		iface string
		own   string // what the Manager's methods about it have in their names, and it has not
	}{
		{machine1.ObjectPath, machine1.ManagerInterface, ""},
		{machine1.MachinePath(name), machine1.MachineInterface, "Machine"},
		{machine1.ImagePath(image), machine1.ImageInterface, "Image"},
	} {
		target := bus.Target{Name: machine1.BusName, Path: object.path}
		for _, method := range methodsOf(t, w.conn, target, object.iface) {
			onManager, args := method, calls[method]
			if object.own != "" {
				onManager, args = "", nil
				for member, in := range calls {
					if len(in) > 0 && in[0] == any(map[string]string{"Machine": name, "Image": image}[object.own]) && strings.Replace(member, object.own, "", 1) == method {
						onManager, args = member, in[1:]
					}
				}
			}
			if _, ok := calls[onManager]; !ok {
				t.Errorf("%s.%s is new", object.iface, method)
				continue
			}
			err := bus.Call(t.Context(), bob, target, object.iface+"."+method, false, args)
			if may := slices.Contains(open, onManager); refused(err) == may {
				t.Errorf("%s.%s, open to all %v: %v", object.iface, method, may, err)
			}
		}
		var his, roots map[string]dbus.Variant
		must(t, bus.Call(t.Context(), bob, target, "org.freedesktop.DBus.Properties.GetAll", false, []any{object.iface}, &his))
		must(t, bus.Call(t.Context(), w.conn, target, "org.freedesktop.DBus.Properties.GetAll", false, []any{object.iface}, &roots))
		if len(his) != len(roots) || len(his) == 0 {
			t.Errorf("%s has %d properties for bob, %d for root", object.iface, len(his), len(roots))
		}
	}
	if _, err := os.Lstat("/tmp/policy-was-here"); err == nil {
		t.Error("something was copied")
	}
	must(t, w.call(t, "GetMachine", []any{name}))
	must(t, w.call(t, "GetImage", []any{image}))
}

// The same on Varlink.
func TestNewWhatUsersMayLookAtOnVarlink(t *testing.T) {
	w := watch(t)
	const name, image = "policy-varlink", "policy-varlink-image"
	startByHand(t, w, name)
	must(t, os.MkdirAll(guests+"/"+image+"/etc", 0o755))
	t.Cleanup(func() { os.RemoveAll(guests + "/" + image) })
	own := startOwn(t, "bob")

	type row = struct{ Method, Parameters string }
	of := func(more string) string { return fmt.Sprintf(`{"name":%q%s}`, name, more) }
	ofImage := func(more string) string { return fmt.Sprintf(`{"name":%q%s}`, image, more) }
	paths := of(`,"source":"/etc/hostname","destination":"/tmp/policy-was-here"`)
	const m, i = "io.systemd.Machine.", "io.systemd.MachineImage."
	open := []row{
		{m + "List", of("")}, {m + "List", of(`,"acquireMetadata":"no"`)}, {m + "MapFrom", of(`,"uid":0`)}, {m + "MapTo", `{"uid":1048576}`},
		{i + "List", ofImage("")},
	}
	closed := []row{
		{m + "Register", fmt.Sprintf(`{"name":"policy-mine","class":"container","leader":%d}`, own)},
		{m + "Register", fmt.Sprintf(`{"name":"policy-mine","class":"container","leader":%d,"allocateUnit":true}`, own)},
		{m + "Unregister", of("")}, {m + "Terminate", of("")}, {m + "Kill", of(`,"whom":"leader","signal":18`)},
		{m + "List", of(`,"acquireMetadata":"yes"`)}, {m + "List", of(`,"acquireMetadata":"graceful"`)},
		{m + "Open", of(`,"mode":"tty"`)}, {m + "Open", of(`,"mode":"login"`)}, {m + "Open", of(`,"mode":"shell"`)},
		{m + "BindMount", paths}, {m + "CopyFrom", paths}, {m + "CopyTo", paths}, {m + "OpenRootDirectory", of("")},
		{i + "List", ofImage(`,"acquireMetadata":"yes"`)}, {i + "Update", ofImage(`,"readOnly":true`)},
		{i + "Clone", ofImage(`,"newName":"policy-cloned"`)}, {i + "Remove", ofImage("")},
		{i + "SetPoolLimit", `{"limit":1099511627776}`}, {i + "CleanPool", `{"mode":"hidden"}`},
	}
	if live.Host.Machd {
		const own, ownImage = machd1.MachineVarlink + ".", machd1.MachineImageVarlink + "."
		closed = append(closed, row{own + "BindMount", paths}, row{own + "Unbind", of(`,"destination":"/tmp"`)},
			row{own + "CopyFrom", paths}, row{own + "CopyTo", paths}, row{ownImage + "Remove", ofImage("")})
	}
	for _, may := range []struct {
		rows []row
		it   bool
	}{{open, true}, {closed, false}} {
		for _, r := range may.rows {
			message := varlinkMessage(r.Method, r.Parameters)
			if r.Method == i+"CleanPool" { // it answers nobody else
				message = withMore(message)
			}
			answers, err := dialVarlink(t, "bob").exchange(t, message)
			must(t, err)
			if last := answers[len(answers)-1].Error; slices.Contains(varlinkRefusals, last) == may.it {
				t.Errorf("%s %s, open to all %v: %q", r.Method, r.Parameters, may.it, last)
			}
		}
	}
	// Every method there is has its row.
	var tried, known []string
	for _, r := range append(open, closed...) {
		tried = append(tried, r.Method)
	}
	for _, iface := range []string{"io.systemd.Machine", "io.systemd.MachineImage"} {
		for line := range strings.Lines(describedInterface(t, iface)) {
			if rest, ok := strings.CutPrefix(line, "method "); ok {
				method, _, _ := strings.Cut(rest, "(")
				known = append(known, iface+"."+method)
			}
		}
	}
	slices.Sort(tried)
	tried = slices.DeleteFunc(slices.Compact(tried), func(method string) bool { return strings.HasPrefix(method, "org.machd.") })
	slices.Sort(known)
	if diff := cmp.Diff(known, tried); diff != "" {
		t.Errorf("methods (-there are +tried):\n%s", diff)
	}
	if _, err := os.Lstat("/tmp/policy-was-here"); err == nil {
		t.Error("something was copied")
	}
	must(t, w.call(t, "GetMachine", []any{name}))
	must(t, w.call(t, "GetImage", []any{image}))
}

// varlinkRefusals say that the caller may not, or not without being asked.
var varlinkRefusals = []string{"org.varlink.service.PermissionDenied", "io.systemd.InteractiveAuthenticationRequired"}

func describedInterface(t *testing.T, iface string) string {
	t.Helper()
	parameters, err := json.Marshal(map[string]string{"interface": iface})
	must(t, err)
	answer, err := varlinkCall(t, "root", "org.varlink.service.GetInterfaceDescription", string(parameters))
	must(t, err)
	text, _ := answer["description"].(string)
	return text
}
