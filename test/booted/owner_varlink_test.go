package booted

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

// Who may register a process of his own must get nothing else by it: what
// TestNewOwnerIsNotRoot says of D-Bus, on Varlink.
func TestNewOwnerIsNotRootOnVarlink(t *testing.T) {
	w := watch(t)
	const of = "io.systemd.Machine."
	startByHand(t, w, "roots")
	mine, bobs := startOwn(t, "alice"), startOwn(t, "bob")
	register := func(user, name string, leader any) error {
		_, err := varlinkCall(t, user, of+"Register", fmt.Sprintf(`{"name":%q,"class":"container","leader":%v}`, name, leader))
		return err
	}
	try := func(user, method, parameters string) error {
		_, err := varlinkCall(t, user, of+method, parameters)
		return err
	}
	wantRefused := func(what string, err error) {
		t.Helper()
		if err == nil || !slices.Contains(varlinkRefusals, err.Error()) {
			t.Errorf("%s: %v", what, err)
		}
	}
	wantRefused("without a rule", register("alice", "mine", mine))
	setRules(t, aliceMayRegister)
	wantRefused("without a rule for bob", register("bob", "bobs", bobs))
	wantRefused("a process of bob", register("alice", "mine", bobs))
	wantRefused("a process of root", register("alice", "mine", pid(t)))
	if err := register("alice", "mine", 1); err == nil || err.Error() != "org.varlink.service.InvalidParameter" {
		t.Errorf("PID 1: %v", err)
	}
	wantRefused("a unit of root's", try("alice", "Register", fmt.Sprintf(`{"name":"mine","class":"container","leader":%d,"allocateUnit":true}`, mine)))
	if got := w.list(t); !slices.Equal(got, []string{"roots"}) {
		t.Fatalf("there are %q", got)
	}

	must(t, register("alice", "mine", mine))
	if got := w.properties(t, "mine")["UID"]; got != uidOf(t, "alice") {
		t.Errorf("its owner is %v", got)
	}
	const paths = `,"source":"/etc/shadow","destination":"/tmp/owner-was-here"`
	verbs := []string{
		`Open ,"mode":"login"`, `Open ,"mode":"shell","user":"root","path":"/bin/sh","args":["sh","-c","touch /run/owner-was-here"]`,
		`Open ,"mode":"shell","user":"alice","path":"/bin/true"`, `Open ,"mode":"tty"`,
		`BindMount ` + paths, `CopyFrom ` + paths, `CopyTo ` + paths, `CopyTo ` + paths + `,"replace":true`, `OpenRootDirectory `,
		`List ,"acquireMetadata":"yes"`, `List ,"acquireMetadata":"graceful"`,
	}
	others := []string{`Kill ,"whom":"leader","signal":9`, `Kill ,"whom":"all","signal":9`, `Terminate `, `Unregister `}
	for _, trial := range []struct {
		user, name string
		verbs      []string
	}{
		{"alice", "mine", verbs}, {"bob", "mine", append(slices.Clone(verbs), others...)},
		{"alice", "roots", append(slices.Clone(verbs), others...)},
	} {
		for _, verb := range trial.verbs {
			method, more, _ := strings.Cut(verb, " ")
			wantRefused(fmt.Sprintf("%s's %s of %s", trial.user, verb, trial.name), try(trial.user, method, fmt.Sprintf(`{"name":%q%s}`, trial.name, more)))
		}
	}
	for _, path := range []string{"/run/owner-was-here", "/tmp/owner-was-here"} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("there is %s", path)
		}
	}
	must(t, try("alice", "Kill", `{"name":"mine","whom":"leader","signal":18}`))
	must(t, try("alice", "Unregister", `{"name":"mine"}`))
	w.await(t, "MachineRemoved", "mine")
	// systemd-machined says so a moment before it takes it from its list.
	eventually(t, "there is none but root's", func() error {
		if got := w.list(t); !slices.Equal(got, []string{"roots"}) {
			return fmt.Errorf("there are %q", got)
		}
		return nil
	})
}

// uselessCalls is how many calls a user makes for nothing.
const uselessCalls = 2000

// Who is refused leaves nothing in the daemon, whatever he sends along.
func TestNewRefusedCallsCostNothing(t *testing.T) {
	w := watch(t)
	startByHand(t, w, "refusing")
	own, daemon := startOwn(t, "alice"), pid(t)
	fd, err := unix.PidfdOpen(int(own), 0)
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	leader := []machine1.Property{{Name: "LeaderPIDFD", Value: dbus.MakeVariant(dbus.UnixFD(fd))}}
	refusals := []struct {
		member string
		args   []any
	}{
		{"RegisterMachine", []any{"mine", []byte{}, "tester", "container", own, ""}},
		{"RegisterMachineEx", []any{"mine", leader}},
		{"OpenMachineShell", []any{"refusing", "root", "/bin/sh", []string{}, []string{}}},
		{"OpenMachinePTY", []any{"refusing"}},
		{"CopyFromMachine", []any{"refusing", "/etc/shadow", "/tmp/shadow"}},
		{"BindMountMachine", []any{"refusing", "/root", "/root", false, false}},
		{"TerminateMachine", []any{"refusing"}},
		{"OpenMachineRootDirectory", []any{"refusing"}},
	}
	// Most ask for what there is not: polkit takes its time for the others.
	const asked = 20
	wantCalm(t, daemon, func() {
		bus, line := dialAs(t, "alice"), dialVarlink(t, "alice")
		for n := range uselessCalls / 2 {
			if n%asked == 0 {
				c := refusals[n/asked%len(refusals)]
				if err := call(t, bus, c.member, c.args); !refused(err) {
					t.Errorf("%s: %v", c.member, err)
				}
				refuseOnVarlink(t, fd, own, n/asked)
				continue
			}
			wantError(t, call(t, bus, "GetMachine", []any{"nobody"}), machine1.ErrNoSuchMachine)
			answers, err := line.exchange(t, varlinkMessage("io.systemd.Machine.List", `{"name":"nobody"}`))
			if err != nil || answers[0].Error != "io.systemd.Machine.NoSuchMachine" {
				t.Fatalf("%+v, %v", answers, err)
			}
		}
	})
	if got := w.list(t); !slices.Equal(got, []string{"refusing"}) {
		t.Errorf("there are %q", got)
	}
}

// refuseOnVarlink makes one call that is refused, every other time with
// descriptors, which the kernel or the daemon does not take.
func refuseOnVarlink(t *testing.T, fd int, leader uint32, n int) {
	conn := dialVarlink(t, "alice")
	defer conn.Close()
	message := varlinkMessage("io.systemd.Machine.Register", fmt.Sprintf(`{"name":"mine","class":"container","leader":%d}`, leader))
	if n%3 == 0 {
		message = varlinkMessage("io.systemd.Machine.Open", `{"name":"refusing","mode":"shell"}`)
	}
	if n%2 == 0 {
		if _, _, err := conn.WriteMsgUnix([]byte(message+"\x00"), unix.UnixRights(fd, fd), nil); err != nil {
			if !errors.Is(err, unix.EPERM) {
				t.Errorf("call %d: %v", n, err)
			}
			return
		}
	} else {
		conn.send(t, message)
	}
	reply, err := conn.next()
	if err == nil && !slices.Contains(varlinkRefusals, reply.Error) || err != nil && n%2 == 1 {
		t.Errorf("call %d: %+v %v", n, reply, err)
	}
}
