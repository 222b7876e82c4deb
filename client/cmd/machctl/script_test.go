package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/machd/machd/client/internal/machine1test"
	"github.com/machd/machd/client/internal/sshtest"
	"github.com/machd/machd/pkg/machine1"
)

func TestMain(m *testing.M) {
	commands := sshtest.Commands()
	commands["machctl"], commands[machinectl] = calm, calm
	commands["chpasswd"] = chpasswd
	testscript.Main(m, commands)
}

// hasty has a script see completions and hints given up as soon as they really
// are.
const hasty = "MACHCTL_TEST_HASTY"

// calm is the program. The tests keep the host busy, so it has longer to complete
// and to guess.
func calm() {
	if os.Getenv(hasty) == "" {
		completeTimeout, guessTimeout = 10*time.Second, 10*time.Second
	}
	main()
}

// TestScripts runs what machctl promises: each script is a session of somebody
// who works with the machines of a world of its own.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			w := machine1test.New(env.T().(testing.TB))
			env.Values[worldKey{}] = w
			env.Setenv("DBUS_SYSTEM_BUS_ADDRESS", w.Address)
			env.Setenv("TZ", "UTC")
			env.Setenv("LC_ALL", "C.UTF-8")
			name, value, _ := strings.Cut(hurry, "=")
			env.Setenv(name, value)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"machine":  scriptMachine,
			"image":    scriptImage,
			"unit":     scriptUnit,
			"process":  scriptProcess,
			"fail":     scriptFail,
			"hang":     scriptHang,
			"machined": scriptMachined,
			"systemd":  scriptSystemd,
			"usage":    scriptUsage,
			"network":  scriptNetwork,
			"port":     scriptPort,
			"finding":  scriptFinding,
			"calls":    scriptCalls,
			"overview": func(ts *testscript.TestScript, _ bool, _ []string) { worldOf(ts).TellOverviews() },
			"exits":    scriptExits,
			"importd":  scriptImportd,
			"await":    scriptAwait,
		},
	})
}

// hurry keeps a program with the race detector from sleeping a second before
// it exits.
const hurry = "GORACE=atexit_sleep_ms=0"

type worldKey struct{}

func worldOf(ts *testscript.TestScript) *machine1test.World {
	return ts.Value(worldKey{}).(*machine1test.World)
}

// machine NAME [KIND…] [PROPERTY=VALUE…] registers a machine: one like c8-ns,
// or plain (tells nothing and has no network), vm, deaf (ignores what is
// sent to its init), booting (ignores the first of it).
func scriptMachine(ts *testscript.TestScript, _ bool, args []string) {
	m := machine1test.C8NS()
	m.Name = args[0]
	m.Properties["Unit"] = machine1.ServiceUnit(m.Name)
	for _, arg := range args[1:] {
		name, value, isProperty := strings.Cut(arg, "=")
		switch {
		case isProperty:
			m.Properties[name] = parseValue(value)
		case arg == "plain", arg == "vm":
			m.OSRelease, m.Addresses, m.UIDShift = nil, nil, 0
			if arg == "vm" {
				m.Class, m.Service = "vm", "libvirt-qemu"
			}
		case arg == "deaf", arg == "booting":
			m.Deaf, m.Booting = arg == "deaf", arg == "booting"
		default:
			ts.Fatalf("machine: what is %q?", arg)
		}
	}
	worldOf(ts).Add(m)
}

// image NAME [TYPE] puts an image where machined finds it.
func scriptImage(ts *testscript.TestScript, _ bool, args []string) {
	image := machine1test.Image{ListedImage: machine1.ListedImage{Name: args[0], Type: "directory", Usage: ^uint64(0)}}
	if len(args) > 1 && args[1] == "raw" {
		image.ListedImage = machine1.ListedImage{
			Name: args[0], Type: "raw", ReadOnly: true,
			Created: 1700000000000000, Modified: 1764000000000000, Usage: 1610612736,
		}
	}
	worldOf(ts).AddImage(image)
}

// unit NAME [job=RESULT] [above=IMAGE] [PROPERTY=VALUE…] tells PID 1 about a unit;
// one that is above an image throws its root away.
func scriptUnit(ts *testscript.TestScript, _ bool, args []string) {
	u := machine1test.Unit{Properties: map[string]any{}}
	for _, arg := range args[1:] {
		name, value, _ := strings.Cut(arg, "=")
		if name == "job" {
			u.JobResult = value
			continue
		}
		if name == "above" {
			u.Properties["ExecStart"] = machine1test.ThrowawayCommand(value)
			continue
		}
		u.Properties[name] = parseValue(value)
	}
	worldOf(ts).SetUnit(args[0], u)
}

// process UNIT CGROUP PID COMMAND puts a process into a unit.
func scriptProcess(ts *testscript.TestScript, _ bool, args []string) {
	pid, err := strconv.ParseUint(args[2], 10, 32)
	ts.Check(err)
	worldOf(ts).AddProcess(args[0], machine1test.Process{Cgroup: args[1], PID: uint32(pid), Command: args[3]})
}

// parseValue makes a number of what looks like one.
func parseValue(text string) any {
	if n, err := strconv.ParseInt(text, 10, 32); err == nil {
		return int32(n)
	}
	return text
}

// fail MEMBER ERROR TEXT makes calls of MEMBER fail, and without an error no
// more. A short ERROR is one of org.freedesktop.DBus.Error.
func scriptFail(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) == 1 {
		worldOf(ts).Fail(args[0], nil)
		return
	}
	name := args[1]
	if !strings.Contains(name, ".") {
		name = "org.freedesktop.DBus.Error." + name
	}
	worldOf(ts).Fail(args[0], dbus.NewError(name, []any{args[2]}))
}

// hang MEMBER leaves calls of MEMBER without an answer.
func scriptHang(ts *testscript.TestScript, _ bool, args []string) { worldOf(ts).Hang(args[0]) }

// machined stop | start | stock, which is systemd-machined, | machd
func scriptMachined(ts *testscript.TestScript, _ bool, args []string) {
	switch args[0] {
	case "start":
		ts.Check(worldOf(ts).StartMachined())
	case "stop":
		worldOf(ts).StopMachined()
	case "stock", "machd":
		worldOf(ts).BeStock(args[0] == "stock")
	}
}

// systemd stop | VERSION, which it is
func scriptSystemd(ts *testscript.TestScript, _ bool, args []string) {
	if args[0] != "stop" {
		worldOf(ts).SetSystemdVersion(args[0])
		return
	}
	worldOf(ts).StopSystemd()
}

// calls prints the calls that the daemons got.
func scriptCalls(ts *testscript.TestScript, _ bool, _ []string) {
	fmt.Fprintln(ts.Stdout(), strings.Join(worldOf(ts).Calls(), "\n"))
}

// exits CODE COMMAND [ARGUMENT…] runs a command that ends with CODE.
func scriptExits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("cannot run %s: %v", args[1], err)
	}
	if code != want {
		ts.Fatalf("%s exits with %d, want %d", strings.Join(args[1:], " "), code, want)
	}
	if args[1] == "machctl" && !exitIsTold(args[2:], code) {
		ts.Fatalf("%s exits with %d, of which its help knows nothing", strings.Join(args[1:], " "), code)
	}
}

// exitIsTold reports whether the help of the verb tells of an exit code.
func exitIsTold(args []string, code int) bool {
	a := newTestApp(false)
	verb, _, err := a.rootCommand().Find(args)
	if err != nil {
		return true
	}
	row, ok := a.rowOf(verb)
	return !ok || slices.ContainsFunc(row.exitCodes(), func(t exitText) bool {
		return t.code == strconv.Itoa(code) || t.code == "0…255" || t.code == "128+N" && code > exitSignal
	})
}

// command is machctl as a process of its own.
func command(w *machine1test.World, args ...string) *exec.Cmd {
	cmd := exec.Command("machctl", args...)
	cmd.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS="+w.Address, "TZ=UTC", "LC_ALL=C.UTF-8", "TERM=xterm", "NO_COLOR=", hurry)
	return cmd
}
