package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/client/internal/machine1test"
	"github.com/machd/machd/pkg/machine1"
)

// inPretendedHost runs the stock command where it believes that systemd is
// PID 1: it looks for a directory.
const inPretendedHost = `mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && exec machinectl "$@"`

// stock returns the stock command with the world's bus.
func stock(t *testing.T, w *machine1test.World, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sh", append([]string{"-c", inPretendedHost, "sh"}, args...)...)
	cmd.Env = command(w).Env
	cmd.Env = append(cmd.Env, "PATH="+stockPath(t), "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	return cmd
}

// stockPath is PATH without the commands of this test.
func stockPath(t *testing.T) string {
	t.Helper()
	_, path, _ := strings.Cut(os.Getenv("PATH"), ":")
	return path
}

// needStock skips a test that cannot run the stock command.
func needStock(t *testing.T, w *machine1test.World) {
	t.Helper()
	if out, err := stock(t, w, "--version").CombinedOutput(); err != nil {
		t.Skipf("needs machinectl and the right to mount: %v: %s", err, out)
	}
}

func stockWorld(t *testing.T) *machine1test.World {
	w := machine1test.New(t)
	needStock(t, w)
	c8 := machine1test.C8NS()
	c8.Properties["Leader"] = uint32(os.Getpid())
	c8.Properties["Timestamp"] = uint64(1700000000000000) // long ago, so that both commands tell the same
	w.Add(c8)
	w.Add(machine1test.Machine{Name: "c8-plain", Class: "container", Service: "systemd-nspawn", Properties: map[string]any{
		"Id": []byte{}, "Timestamp": uint64(1606391988000000), "TimestampMonotonic": uint64(1), "Unit": "machine-c8.scope",
		"Leader": uint32(0), "RootDirectory": "", "NetworkInterfaces": []int32{1}, "State": "opening", "VSockCID": ^uint32(0),
		"SSHAddress": "", "UID": ^uint32(0),
	}, Addresses: []string{"10.1.2.3", "fe80::1"}})
	w.Add(machine1test.Machine{Name: "win-vm-with-a-long-name", Class: "vm", Properties: map[string]any{
		"Timestamp": uint64(0), "Unit": "", "State": "running", "NetworkInterfaces": []int32{1, 77777},
	}})
	unit := "systemd-nspawn@c8-ns.service"
	w.SetUnit(unit, machine1test.Unit{Properties: map[string]any{"ActiveState": "active", "ControlGroup": "/machine.slice/" + unit}})
	for i, p := range []struct{ group, command string }{
		{"/supervisor", "systemd-nspawn --quiet --keep-unit --boot --link-journal=try-guest --network-veth -U --machine=c8-ns"},
		{"/payload/init.scope", "/sbin/init"},
		{"/payload/system.slice/dbus.service", "/usr/bin/dbus-daemon --system"},
		{"/payload/system.slice/dbus.service", "/usr/bin/dbus-broker"},
		{"/payload/system.slice/console-getty.service", "-bash"},
		{"/payload", "stray"},
	} {
		w.AddProcess(unit, machine1test.Process{Cgroup: "/machine.slice/" + unit + p.group, PID: uint32(9990 + 7*i), Command: p.command})
	}
	w.AddImage(machine1test.Image{ListedImage: machine1.ListedImage{Name: "c8-ns", Type: "directory", Usage: ^uint64(0)}})
	w.AddImage(machine1test.Image{ListedImage: machine1.ListedImage{Name: "web", Type: "raw", ReadOnly: true, Created: 1700000000000000, Modified: 1764000000000000, Usage: 1610612736}})
	w.AddImage(machine1test.Image{ListedImage: machine1.ListedImage{Name: ".hidden", Type: "subvolume", Created: 1, Usage: 12800}})
	return w
}

// Rows in which we say more than the stock command, or the same otherwise.
var deviations = strings.NewReplacer("[unprintable]", "1")

func TestOutputIsThatOfTheStockCommand(t *testing.T) {
	t.Parallel()
	w := stockWorld(t)
	for _, line := range []string{
		"", "list", "list -a", "list -l", "list --max-addresses=2 -a", "list --max-addresses=all", "list --max-addresses=0",
		"list --no-legend", "list -o json", "list -o json --max-addresses=0", "list -o short",
		"list-images", "list-images -a", "list-images --no-legend", "list-images -o json",
		"status c8-ns", "status c8-ns c8-plain", "status win-vm-with-a-long-name .host", "-n 0 status c8-ns -a",
		"show", "show c8-ns", "show c8-ns c8-plain", "show -a c8-plain", "show -p Id -p Name c8-plain", "show -p State=running c8-ns",
		"show -p State=closing c8-ns", "show --value -p Leader c8-ns",
	} {
		for _, locale := range []string{"C.UTF-8", "C"} {
			t.Run(locale+" "+line, func(t *testing.T) {
				t.Parallel()
				want := output(t, stock(t, w, strings.Fields(line)...), locale)
				got := output(t, command(w, strings.Fields(line)...), locale)
				if strings.Contains(line, "show") {
					// The stand-in daemon sends properties in any order.
					want, got = sortLines(deviations.Replace(want)), sortLines(got)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("stock -, ours +:\n%s", diff)
				}
			})
		}
	}
}

// Called by its name we stop where it does, and print what it prints.
func TestItsNameHasTheHabitsOfTheStockCommand(t *testing.T) {
	t.Parallel()
	needStock(t, machine1test.New(t))
	for _, line := range []string{
		"show -o json -p State --value c8-ns", "status -o json -n 0 c8-ns", "start nope web", "start web -- nope", "clean", "clean -a",
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			play := func(command func(w *machine1test.World) *exec.Cmd) string {
				w := stockWorld(t)
				cmd := command(w)
				cmd.Env = append(cmd.Env, "LC_ALL=C.UTF-8")
				out, err := cmd.CombinedOutput()
				done := slices.DeleteFunc(w.Calls(), func(call string) bool { return !strings.HasPrefix(call, "StartUnit ") })
				return fmt.Sprintf("%s%v\n%s", out, err, strings.Join(done, "\n"))
			}
			want := play(func(w *machine1test.World) *exec.Cmd { return stock(t, w, strings.Fields(line)...) })
			got := play(func(w *machine1test.World) *exec.Cmd {
				ours := command(w, strings.Fields(line)...)
				ours.Args[0] = machinectl
				return ours
			})
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("stock -, ours +:\n%s", diff)
			}
		})
	}
}

func output(t *testing.T, cmd *exec.Cmd, locale string) string {
	t.Helper()
	cmd.Env = append(cmd.Env, "LC_ALL="+locale)
	var errors bytes.Buffer
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v: %s", cmd.Args, err, errors.Bytes())
	}
	return string(out)
}

func sortLines(text string) string {
	var blocks []string
	for block := range strings.SplitSeq(text, "\n\n") {
		lines := strings.Split(block, "\n")
		slices.Sort(lines)
		blocks = append(blocks, strings.Trim(strings.Join(lines, "\n"), "\n"))
	}
	return strings.Join(blocks, "\n\n")
}

// On a terminal the stock command narrows tables and trees.
func TestTablesAreNarrowedAsByTheStockCommand(t *testing.T) {
	t.Parallel()
	w := stockWorld(t)
	for _, columns := range []uint16{20, 33, 40, 45, 52, 60, 66, 70, 80, 120} {
		for _, line := range []string{"list -a --max-addresses=all", "list-images -a", "status c8-ns -n 0"} {
			t.Run(fmt.Sprintf("%d %s", columns, line), func(t *testing.T) {
				t.Parallel()
				want := onTerminal(t, stock(t, w, strings.Fields(line)...), columns)
				ours := command(w, strings.Fields(line)...)
				ours.Args[0] = machinectl
				got := onTerminal(t, ours, columns)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("stock -, ours +:\n%s", diff)
				}
			})
		}
	}
}

// onTerminal returns what cmd shows on a terminal, without styles.
func onTerminal(t *testing.T, cmd *exec.Cmd, columns uint16) string {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	defer master.Close()
	pty.Setsize(master, &pty.Winsize{Rows: 24, Cols: columns})
	cmd.Env = append(cmd.Env, "NO_COLOR=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	var screen bytes.Buffer
	screen.ReadFrom(master)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %v: %s", cmd.Args, err, screen.Bytes())
	}
	return sgr.ReplaceAllString(screen.String(), "")
}

func TestTimesAreToldAsByTheStockCommand(t *testing.T) {
	t.Parallel()
	w := machine1test.New(t)
	needStock(t, w)
	var names []string
	now := time.Now()
	for i, seconds := range []int{
		0, 1, 59, 60, 61, 119, 299, 300, 301, 3599, 3600, 3700, 7200, 21599, 21600, 86399, 86400, 89999, 90000, 172799, 172800,
		604799, 604800, 700000, 1209600, 2629799, 2629800, 2800000, 5259600, 31557599, 31557600, 34187400, 63115200, 1e9, -5, -4000, -1e7,
	} {
		m := machine1test.C8NS()
		m.Name = fmt.Sprintf("m%02d", i)
		m.Properties["Timestamp"] = uint64(now.Add(-time.Duration(seconds)*time.Second - time.Second/2).UnixMicro())
		m.Properties["Unit"], m.Properties["Leader"] = "", uint32(0)
		w.Add(m)
		names = append(names, m.Name)
	}
	args := append([]string{"status"}, names...)
	milliseconds := regexp.MustCompile(`\d+ms ago`)
	show := func(cmd *exec.Cmd) []string {
		return strings.Split(milliseconds.ReplaceAllString(output(t, cmd, "C"), "some ms ago"), "\n")
	}
	// Time goes on while they run, so ours is run before and after, and all of it
	// again for the lines that a slow machine has skipped a second of.
	wrong := map[int]string{0: "not shown yet"}
	for round := 0; round < 10 && len(wrong) > 0; round++ {
		before, want, after := show(command(w, args...)), show(stock(t, w, args...)), show(command(w, args...))
		if len(before) != len(want) || len(after) != len(want) {
			t.Fatalf("%d, %d and %d lines", len(before), len(want), len(after))
		}
		for i := range want {
			switch _, again := wrong[i]; {
			case want[i] == before[i] || want[i] == after[i]:
				delete(wrong, i)
			case round == 0 || again:
				wrong[i] = fmt.Sprintf("stock %q, ours %q and then %q", want[i], before[i], after[i])
			}
		}
	}
	for _, text := range wrong {
		t.Error(text)
	}
}
