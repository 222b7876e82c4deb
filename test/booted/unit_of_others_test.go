package booted

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

// A home is a unit of somebody's with a process of its own that stays, and a
// cgroup in it where leaders live.
type home struct {
	unit     string
	subgroup string // below the unit, "" if leaders live beside the other process
	cgroup   string
}

// newHome has a service or a scope; in a subgroup of it if there is one.
func newHome(t *testing.T, unit, subgroup string) home {
	t.Helper()
	if strings.HasSuffix(unit, ".scope") {
		cmd := exec.Command("systemd-run", "-q", "--scope", "--slice=machine.slice", "-p", "Delegate=yes", "--unit="+unit, "sleep", "infinity")
		must(t, cmd.Start())
		t.Cleanup(func() { cmd.Wait() })
	} else {
		run(t, "systemd-run", "-q", "--collect", "--slice=machine.slice", "-p", "Delegate=yes", "-p", "DelegateSubgroup=other",
			"--unit="+unit, "sleep", "infinity")
	}
	t.Cleanup(func() { observe(t, "systemctl", "kill", "--signal=KILL", unit) })
	eventually(t, unit+" is there", unitIs(t, unit, "active"))
	h := home{unit, subgroup, filepath.Join("/sys/fs/cgroup", run(t, "systemctl", "show", "-P", "ControlGroup", unit), subgroup)}
	must(t, os.MkdirAll(h.cgroup, 0o755))
	return h
}

// startLeader starts a process there, until the test's end.
func (h home) startLeader(t *testing.T) *exec.Cmd {
	t.Helper()
	dir, err := os.Open(h.cgroup)
	must(t, err)
	defer dir.Close()
	cmd := exec.Command("sleep", "infinity")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	must(t, cmd.Start())
	t.Cleanup(func() { end(cmd) })
	return cmd
}

func end(cmd *exec.Cmd) {
	cmd.Process.Kill()
	cmd.Wait()
}

func registration(name string, leader int) []any {
	return []any{name, []byte{}, "tester", "container", uint32(leader), "/"}
}

// outliving is how often a name is used again, by a process that comes right
// behind the one that was killed.
const outliving = 50

// No registration outlives its process, whatever becomes of the unit. Each that
// was announced is announced to be gone, once.
func TestMachdNameIsFreeAtOnce(t *testing.T) {
	t.Parallel()
	for _, kind := range []struct{ in, name, unit, subgroup string }{
		{"a service", "qemu-5-web3", "outlived.service", ""},
		{"a scope", "qemu-6-web3", "outlived.scope", ""},
		{"a cgroup of a service", "qemu-7-web3", "outlived-below.service", "payload"},
		{"a scope of its own", "qemu-8-web3", "", ""},
	} {
		t.Run("in "+kind.in, func(t *testing.T) {
			t.Parallel()
			w, name := watch(t), kind.name
			next := func() *exec.Cmd { return startSleep(t) }
			begin := func(pid int) error {
				return w.call(t, "CreateMachine", append(registration(name, pid), []machine1.Property{}))
			}
			if kind.unit != "" {
				h := newHome(t, kind.unit, kind.subgroup)
				next = func() *exec.Cmd { return h.startLeader(t) }
				begin = func(pid int) error { return w.call(t, "RegisterMachine", registration(name, pid)) }
			}
			for i := range outliving {
				leader := next()
				if err := begin(leader.Process.Pid); err != nil {
					t.Fatalf("the process %d: %v", i, err)
				}
				if i == 0 {
					other := next()
					wantError(t, begin(other.Process.Pid), machine1.ErrMachineExists)
					end(other)
				}
				end(leader)
			}
			eventually(t, "it is forgotten", func() error {
				for file, target := range stateFiles(t) {
					if file == name || target == name {
						return fmt.Errorf("there is %s", file)
					}
				}
				return nil
			})
			wantTurns(t, w.all(t), name, outliving)
			if kind.unit != "" {
				must(t, unitIs(t, kind.unit, "active")())
			}
		})
	}
}

func startSleep(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "infinity")
	must(t, cmd.Start())
	t.Cleanup(func() { end(cmd) })
	return cmd
}

// wantTurns wants that a machine came and went n times, in turns.
func wantTurns(t *testing.T, signals []string, name string, n int) {
	t.Helper()
	var own []string
	for _, signal := range signals {
		if member, machine, _ := strings.Cut(signal, " "); machine == name {
			own = append(own, member)
		}
	}
	if want := slices.Repeat([]string{"MachineNew", "MachineRemoved"}, n); !slices.Equal(own, want) {
		t.Errorf("the signals were %q, want each of %q %d times, in turns", own, want[:2], n)
	}
}

// Neither a registration that is refused nor the end of a machine puts the unit
// at risk that its leader is in, nor the process that registered it.
func TestMachdUnitsOfOthersAreSafe(t *testing.T) {
	terms := wantNoSIGTERM(t)
	w := watch(t)
	session := startSession(t, "bob")
	for _, trial := range []struct {
		name string
		home home
	}{
		{"service", newHome(t, "shared.service", "")},
		{"scope", newHome(t, "shared.scope", "")},
		{"subgroup", newHome(t, "shared-below.service", "payload")},
		{"session", home{unit: filepath.Base(session.cgroup), cgroup: "/sys/fs/cgroup" + session.cgroup}},
	} {
		t.Run("in a "+trial.name, func(t *testing.T) {
			name := "shared-" + trial.name
			leader, other := trial.home.startLeader(t), trial.home.startLeader(t)
			pid := leader.Process.Pid
			must(t, w.call(t, "RegisterMachine", registration(name, pid)))
			twin := registration(name+"-twin", pid)
			refused := map[string]error{
				"the same leader":          w.call(t, "RegisterMachine", twin),
				"the same leader, created": w.call(t, "CreateMachine", append(twin, []machine1.Property{})),
				"the same leader, by Ex": w.call(t, "RegisterMachineEx", []any{name + "-twin", []machine1.Property{
					{Name: "Class", Value: dbus.MakeVariant("container")},
					{Name: "LeaderPIDFD", Value: dbus.MakeVariant(pidfdOf(t, pid))},
				}}),
				"the same name":   w.call(t, "RegisterMachine", registration(name, other.Process.Pid)),
				"no machine name": w.call(t, "RegisterMachine", registration("no_name", other.Process.Pid)),
				"a bad property": w.call(t, "CreateMachine", append(registration(name+"-bad", other.Process.Pid),
					[]machine1.Property{{Name: "NoSuchProperty", Value: dbus.MakeVariant(true)}})),
			}
			_, refused["the same leader, by Varlink"] = varlinkCall(t, "root", "io.systemd.Machine.Register",
				fmt.Sprintf(`{"name":"%s-twin","class":"container","leader":%d}`, name, pid))
			for what, err := range refused {
				if err == nil {
					t.Errorf("%s was taken", what)
				}
			}
			wantIn(t, trial.home, leader, other)
			end(leader)
			w.await(t, "MachineRemoved", name)
			wantIn(t, trial.home, other)
			if list := run(t, "machctl", "--no-legend", "list"); strings.Contains(list, name) {
				t.Errorf("the list has it:\n%s", list)
			}
		})
	}
	wantNone(t, terms)
}

func pidfdOf(t *testing.T, pid int) dbus.UnixFD {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return dbus.UnixFD(fd)
}

// wantIn wants processes to live where they were started, in a unit that is
// active.
func wantIn(t *testing.T, h home, processes ...*exec.Cmd) {
	t.Helper()
	must(t, unitIs(t, h.unit, "active")())
	for _, p := range processes {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.Process.Pid))
		_, cgroup, _ := strings.Cut(string(text), "0::")
		if cgroup = strings.TrimSpace(cgroup); err != nil || "/sys/fs/cgroup"+cgroup != h.cgroup {
			t.Errorf("the process %d is in %q: %v", p.Process.Pid, cgroup, err)
		}
	}
}

// wantNoSIGTERM keeps SIGTERM from ending us, who register machines and so are
// their supervisor.
func wantNoSIGTERM(t *testing.T) chan os.Signal {
	t.Helper()
	terms := make(chan os.Signal, 100)
	signal.Notify(terms, unix.SIGTERM)
	t.Cleanup(func() { signal.Stop(terms) })
	return terms
}

func wantNone(t *testing.T, terms chan os.Signal) {
	t.Helper()
	select {
	case <-terms:
		t.Error("the registrant was sent SIGTERM")
	case <-time.After(100 * time.Millisecond):
	}
}
