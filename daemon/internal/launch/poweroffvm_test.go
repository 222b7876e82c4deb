package launch

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// A virtual machine that has a power button is ended by that, and what a
// socket that somebody with fewer rights named is good for is not looked at.
func TestStopPressesThePowerButton(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		class machine1.Class
		uid   int
		how   string
	}{
		"a virtual machine of ours":       {machine1.ClassVM, os.Geteuid(), machd.StopPowerOff},
		"a virtual machine of somebody's": {machine1.ClassVM, os.Geteuid() + 1, machd.StopUnit},
		"a container":                     {machine1.ClassContainer, os.Geteuid(), machd.StopUnit},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			socket := filepath.Join(t.TempDir(), "control")
			pressed := serveControl(t, socket)
			w.registerAs(t, machine.Registration{
				Name: "vm", Class: c.class, Service: "systemd-vmspawn", ControlAddress: socket, UID: uint32(c.uid),
			}, "sleep", "1000")
			m, _ := w.machines.View().Get("vm")
			w.pid1.set(m.Unit, unit.Run{State: "active"})
			go func() {
				for ends := false; !ends; {
					select {
					case <-pressed:
						ends = true
					case <-time.After(time.Millisecond):
						ends = slices.Contains(w.took(), "stop "+m.Unit)
					case <-t.Context().Done():
						return
					}
				}
				_ = w.machines.Unregister(context.Background(), "vm")
				w.pid1.set(m.Unit, unit.Run{State: "inactive"})
				w.UnitEvent(unit.Event{Kind: unit.UnitChanged, Unit: m.Unit})
			}()
			how, err := w.Stop(t.Context(), m, machd.StopOptions{Timeout: patience})
			if err != nil || how != c.how {
				t.Errorf("it ended by %q, %v, want %q", how, err, c.how)
			}
		})
	}
}

// One that is terminated is turned off by what runs it, and not killed.
func TestTerminateTurnsAVirtualMachineOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	socket := filepath.Join(t.TempDir(), "control")
	told := serveControl(t, socket)
	w.registerAs(t, machine.Registration{
		Name: "vm", Class: machine1.ClassVM, Service: "systemd-vmspawn", ControlAddress: socket, UID: uint32(os.Geteuid()),
	}, "sleep", "1000")
	m, _ := w.machines.View().Get("vm")
	w.pid1.set(m.Unit, unit.Run{State: "active"})
	alive := make(chan bool, 1)
	go func() {
		if order := <-told; order == "Terminate" {
			alive <- m.Leader.Alive()
		}
		_ = w.machines.Unregister(context.Background(), "vm")
		w.pid1.set(m.Unit, unit.Run{State: "inactive"})
		w.UnitEvent(unit.Event{Kind: unit.UnitChanged, Unit: m.Unit})
	}()
	how, err := w.Terminate(t.Context(), m, machd.TerminateOptions{Timeout: patience})
	if err != nil || how != machd.StopUnit {
		t.Errorf("it ended by %q, %v", how, err)
	}
	select {
	case lived := <-alive:
		if !lived {
			t.Error("it was killed before that")
		}
	default:
		t.Error("it was told something else")
	}
}

// serveControl serves the control socket of a virtual machine that runs, and
// tells when its power button is pressed, or it is turned off.
func serveControl(t *testing.T, path string) (told chan string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	told = make(chan string, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for r := bufio.NewReader(c); ; {
					text, err := r.ReadBytes(0)
					if err != nil {
						return
					}
					var call struct{ Method string }
					answer := `{"error":"io.systemd.MachineInstance.NotSupported"}`
					if json.Unmarshal(text[:len(text)-1], &call) == nil {
						switch order := strings.TrimPrefix(call.Method, "io.systemd.MachineInstance."); order {
						case "PowerOff", "Terminate":
							answer = `{}`
							told <- order
						}
					}
					if _, err := c.Write(append([]byte(answer), 0)); err != nil {
						return
					}
				}
			}()
		}
	}()
	return told
}
