package vm

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

// Some of these tests stop the daemon or libvirt, so none is parallel.

func TestAGuestIsAMachine(t *testing.T) {
	w := watch(t)
	d := create(t, "stream8-20200629", "")
	w.awaitNew(t, d.machine)
	d.wantListed(t)

	uuid := strings.ReplaceAll(run(t, "virsh", "domuuid", d.name), "-", "")
	want := []string{"Name=" + d.machine, "Id=" + uuid, "Service=libvirt-qemu", "Unit=" + d.scope,
		fmt.Sprintf("Leader=%d", d.pid), "Class=vm", "State=running"}
	for _, client := range clients() {
		show := "\n" + run(t, client, "show", d.machine) + "\n"
		for _, line := range want {
			if !strings.Contains(show, "\n"+line+"\n") {
				t.Errorf("%s does not show %s, but%s", client, line, show)
			}
		}
	}
	for _, name := range []string{d.machine, "unit:" + d.scope} {
		if _, err := os.Lstat(filepath.Join(machine1.StateDir, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestTheScopeHoldsTheGuest(t *testing.T) {
	w := watch(t)
	d := create(t, "stream8-20200629", "")
	show := "\n" + run(t, "systemctl", "show", d.scope) + "\n"
	for _, line := range []string{"ActiveState=active", "Description=Virtual Machine " + d.machine, "Slice=machine.slice"} {
		if !strings.Contains(show, "\n"+line+"\n") {
			t.Errorf("%s has not %s", d.scope, line)
		}
	}
	// This one is of libvirt's own properties.
	if before := run(t, "systemctl", "show", "-P", "Before", d.scope); !strings.Contains(before, "virt-guest-shutdown.target") {
		t.Errorf("%s is before %s", d.scope, before)
	}
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", d.pid))
	must(t, err)
	if !strings.Contains(string(groups), "0::/machine.slice/"+d.scope+"/libvirt\n") {
		t.Errorf("qemu is in %s", groups)
	}
	path, err := w.byPID(t, d.pid)
	if err != nil || path != machine1.MachinePath(d.machine) {
		t.Errorf("the machine of qemu, process %d, is %q, %v", d.pid, path, err)
	}
}

func TestDestroyRemovesTheMachine(t *testing.T) {
	w := watch(t)
	// The second guest has the name of the first, whose machine is gone by then.
	for range 2 {
		d := create(t, "destroyed", "")
		qemu := d.qemu(t)
		run(t, "virsh", "destroy", d.name)
		wantExit(t, qemu)
		w.awaitRemoved(t, d.machine)
		d.wantGone(t)
	}
}

func TestTerminateEndsTheGuest(t *testing.T) {
	w := watch(t)
	for _, client := range clients() {
		d := create(t, "ended-by-"+client, "")
		qemu := d.qemu(t)
		run(t, client, "terminate", d.machine)
		wantExit(t, qemu)
		w.awaitRemoved(t, d.machine)
		d.wantGone(t)
	}
}

func TestAKilledGuestLeavesNothing(t *testing.T) {
	for _, c := range []struct {
		name       string
		withDaemon bool
	}{
		{"while libvirt sees it", true},
		{"while libvirt is stopped", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := watch(t)
			d := create(t, fmt.Sprintf("killed-%t", c.withDaemon), "")
			if !c.withDaemon {
				run(t, "systemctl", "stop", "libvirtd.service")
				t.Cleanup(func() { run(t, "systemctl", "start", "libvirtd.service") })
				d.wantListed(t) // the process that registered it has ended
			}
			must(t, unix.Kill(d.pid, unix.SIGKILL))
			w.awaitRemoved(t, d.machine)
			d.wantGone(t)
		})
	}
}

func TestANewDaemonKnowsTheGuest(t *testing.T) {
	for _, c := range []struct {
		name string
		end  []string
	}{
		{"after a restart", []string{"systemctl", "restart"}},
		{"after a kill", []string{"systemctl", "kill", "--signal=KILL"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := watch(t)
			d := create(t, "kept", "")
			before := run(t, "machinectl", "show", d.machine)
			owner := w.owner(t)
			run(t, append(c.end, "systemd-machined.service")...)
			w.await(t, "org.freedesktop.DBus.NameOwnerChanged", machine1.BusName, owner, "")
			d.wantListed(t)
			if diff := cmp.Diff(before, run(t, "machinectl", "show", d.machine)); diff != "" {
				t.Errorf("machinectl show (-before +after):\n%s", diff)
			}
			run(t, "virsh", "destroy", d.name)
			w.awaitRemoved(t, d.machine)
			d.wantGone(t)
		})
	}
}

// libvirt asks for the machine of each qemu that it finds running.
func TestANewLibvirtKnowsTheMachine(t *testing.T) {
	w := watch(t)
	d := create(t, "found-again", "")
	run(t, "systemctl", "restart", "libvirtd.service")
	run(t, "virsh", "suspend", d.name) // which waits until libvirt knows the guest again
	d.wantListed(t)
	qemu := d.qemu(t)
	run(t, "virsh", "destroy", d.name)
	wantExit(t, qemu)
	w.awaitRemoved(t, d.machine)
	d.wantGone(t)
}

// A machine that PID 1 refuses a scope was never there: whoever wanted it must
// not be ended with it.
func TestARefusedGuestHarmsNobody(t *testing.T) {
	first := create(t, "first", "")
	var id int
	_, err := fmt.Sscanf(first.machine, "qemu-%d-", &id)
	must(t, err)
	refused := domain{machine: fmt.Sprintf("qemu-%d-refused", id+1)}
	refused.scope = scopeOf(refused.machine)
	takeScope(t, refused.scope)
	libvirt := run(t, "systemctl", "show", "-P", "MainPID", "libvirtd.service")

	out, err := attemptCreate(t, "refused", "")
	if err == nil || !strings.Contains(out, refused.scope) {
		t.Errorf("libvirt was to be refused the scope, but says %q, %v", out, err)
	}
	for _, client := range clients() {
		if rows := list(t, client); strings.Contains(rows, refused.machine) {
			t.Errorf("%s has rows%s", client, rows)
		}
	}
	first.wantListed(t)
	if state := run(t, "systemctl", "show", "-P", "ActiveState", refused.scope); state != "active" {
		t.Errorf("the scope that was there before is %s", state)
	}
	if now := run(t, "systemctl", "show", "-P", "MainPID", "libvirtd.service"); now != libvirt {
		t.Errorf("libvirt was process %s, now %s", libvirt, now)
	}
}

func TestTheGuestsLinkIsTheMachines(t *testing.T) {
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip("this kernel gives guests no link:", err)
	}
	w := watch(t)
	d := create(t, "linked", `<interface type='ethernet'><target dev='link0'/><rom enabled='no'/></interface>`)
	link, err := net.InterfaceByName("link0")
	must(t, err)
	if diff := cmp.Diff([]int32{int32(link.Index)}, w.interfaces(t, d.machine)); diff != "" {
		t.Errorf("NetworkInterfaces (-want +got):\n%s", diff)
	}
}
