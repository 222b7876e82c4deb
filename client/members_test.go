package client_test

import (
	"context"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/client"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

const (
	manager    = machine1.ManagerInterface + "."
	machine    = machine1.MachineInterface + "."
	image      = machine1.ImageInterface + "."
	ownManager = machd.ManagerInterface + "."
	ownMachine = machd.MachineInterface + "."
)

// A doer makes calls of a client.
type doer func(ctx context.Context, c *client.Client) error

// calls has, for each method of a Manager, a call of the client that makes it.
var calls = map[string]doer{
	manager + "GetMachine":                 asking(machineByName),
	manager + "GetImage":                   asking(imageByName),
	manager + "GetMachineByPID":            asking(machineOfSelf),
	manager + "ListMachines":               asking((*client.Client).List),
	manager + "ListImages":                 asking((*client.Client).Images),
	manager + "CreateMachineWithNetwork":   inScope(client.Registration{Name: "m"}),
	manager + "CreateMachineEx":            inScope(client.Registration{Name: "m", Leader: uint32(os.Getpid()), VSockCID: 5}),
	manager + "RegisterMachine":            registering(client.Registration{Name: "m"}),
	manager + "RegisterMachineWithNetwork": registering(client.Registration{Name: "m", NetworkInterfaces: []int32{3}}),
	manager + "RegisterMachineEx":          registering(client.Registration{Name: "m", SSHAddress: "vsock/5", SSHPrivateKeyPath: "/key"}),
	manager + "UnregisterMachine":          about((*client.Client).Unregister),
	manager + "TerminateMachine":           about((*client.Client).Terminate),
	manager + "KillMachine":                about((*client.Client).PowerOff),
	manager + "GetMachineAddresses":        askingAbout((*client.Client).Addresses),
	manager + "GetMachineSSHInfo":          about(sshInfo),
	manager + "GetMachineOSRelease":        askingAbout((*client.Client).OSRelease),
	manager + "OpenMachinePTY":             opening((*client.Client).OpenPTY),
	manager + "OpenMachineLogin":           opening((*client.Client).OpenLogin),
	manager + "OpenMachineShell":           opening(openShell),
	manager + "OpenMachineRootDirectory":   about(openRoot),
	manager + "GetMachineUIDShift":         askingAbout((*client.Client).UIDShift),
	manager + "BindMountMachine":           binding,
	manager + "CopyFromMachine":            copying((*client.Client).CopyFrom, false),
	manager + "CopyToMachine":              copying((*client.Client).CopyTo, false),
	manager + "CopyFromMachineWithFlags":   copying((*client.Client).CopyFrom, true),
	manager + "CopyToMachineWithFlags":     copying((*client.Client).CopyTo, true),
	manager + "RemoveImage":                about((*client.Client).RemoveImage),
	manager + "RenameImage": func(ctx context.Context, c *client.Client) error {
		return c.RenameImage(ctx, "i", "new")
	},
	manager + "CloneImage": func(ctx context.Context, c *client.Client) error {
		return c.CloneImage(ctx, "i", "new", true)
	},
	manager + "MarkImageReadOnly": func(ctx context.Context, c *client.Client) error {
		return c.SetImageReadOnly(ctx, "i", true)
	},
	manager + "GetImageHostname":    askingAbout((*client.Client).ImageHostname),
	manager + "GetImageMachineID":   askingAbout((*client.Client).ImageMachineID),
	manager + "GetImageMachineInfo": askingAbout((*client.Client).ImageMachineInfo),
	manager + "GetImageOSRelease":   askingAbout((*client.Client).ImageOSRelease),
	manager + "SetPoolLimit":        func(ctx context.Context, c *client.Client) error { return c.SetPoolLimit(ctx, 1) },
	manager + "SetImageLimit":       func(ctx context.Context, c *client.Client) error { return c.SetImageLimit(ctx, "i", 1) },
	manager + "CleanPool": func(ctx context.Context, c *client.Client) error {
		_, err := c.CleanPool(ctx, true)
		return err
	},
	manager + "MapFromMachineUser":  mappingFrom((*client.Client).HostUID),
	manager + "MapFromMachineGroup": mappingFrom((*client.Client).HostGID),
	manager + "MapToMachineUser":    mappingTo((*client.Client).MachineUID),
	manager + "MapToMachineGroup":   mappingTo((*client.Client).MachineGID),

	ownManager + "BindMount":   binding,
	ownManager + "Unbind":      func(ctx context.Context, c *client.Client) error { return c.Unbind(ctx, "m", "/to") },
	ownManager + "CopyFrom":    copying((*client.Client).CopyFrom, true),
	ownManager + "CopyTo":      copying((*client.Client).CopyTo, true),
	ownManager + "RemoveImage": about((*client.Client).RemoveImageKeepingSettings),
	ownManager + "CloneImage": func(ctx context.Context, c *client.Client) error {
		return c.CloneImage(client.WithProgress(ctx, func(client.Progress) {}), "i", "new", true)
	},
	ownManager + "CleanPool": func(ctx context.Context, c *client.Client) error {
		_, err := c.CleanPool(client.WithProgress(ctx, func(client.Progress) {}), true)
		return err
	},
	ownManager + "CreateImage": func(ctx context.Context, c *client.Client) error {
		_, err := c.CreateImage(ctx, "i", "debian:13", nil, client.ImageOptions{}, nil)
		return err
	},
	ownManager + "MeasureImage": askingAbout((*client.Client).ImageUsage),
	ownManager + "SetImagePassword": func(ctx context.Context, c *client.Client) error {
		return c.SetPasswordHash(ctx, "i", "root", "!")
	},
	ownManager + "CreateSnapshot": func(ctx context.Context, c *client.Client) error {
		return c.CreateSnapshot(ctx, "i", "s")
	},
	ownManager + "ListSnapshots": askingAbout((*client.Client).Snapshots),
	ownManager + "RestoreSnapshot": func(ctx context.Context, c *client.Client) error {
		_, err := c.RestoreSnapshot(ctx, "i", "s")
		return err
	},
	ownManager + "RemoveSnapshot": func(ctx context.Context, c *client.Client) error {
		return c.RemoveSnapshot(ctx, "i", "s")
	},
	ownManager + "StartMachine": func(ctx context.Context, c *client.Client) error {
		_, err := c.Launch(ctx, "m", machd.StartOptions{})
		return err
	},
	ownManager + "PlanStart": func(ctx context.Context, c *client.Client) error {
		_, _, err := c.PlanStart(ctx, "m", machd.StartOptions{})
		return err
	},
	ownManager + "RunMachine": func(ctx context.Context, c *client.Client) error {
		return closing(c.Run(ctx, "m", client.RunCommand{}))
	},
	ownManager + "Exec": func(ctx context.Context, c *client.Client) error {
		return closing(c.Exec(ctx, "m", client.ExecCommand{Args: []string{"true"}}))
	},
	ownManager + "StopMachine": func(ctx context.Context, c *client.Client) error {
		_, err := c.Stop(ctx, "m", machd.StopOptions{})
		return err
	},
	ownManager + "TerminateMachine": func(ctx context.Context, c *client.Client) error {
		_, err := c.TerminateAndWait(ctx, "m", machd.TerminateOptions{})
		return err
	},
	ownManager + "RestartMachine": func(ctx context.Context, c *client.Client) error {
		_, err := c.Restart(ctx, "m", machd.StopOptions{})
		return err
	},
	ownManager + "WaitMachine": func(ctx context.Context, c *client.Client) error {
		_, _, err := c.Wait(ctx, "m", machd.WaitOptions{})
		return err
	},
	ownManager + "SetLimits": func(ctx context.Context, c *client.Client) error {
		return c.SetLimits(ctx, "m", machd.LimitOptions{})
	},
	ownManager + "ListOverview": func(ctx context.Context, c *client.Client) error {
		_, err := c.Machines(ctx, client.OverviewQuery{})
		return err
	},
	ownManager + "ListUsage": asking((*client.Client).Usage),
	ownManager + "GetUsage":  askingAbout((*client.Client).MachineUsage),
	ownManager + "AddPorts": func(ctx context.Context, c *client.Client) error {
		return c.AddPorts(ctx, "m", []string{"80"}, machd.PortOptions{})
	},
	ownManager + "RemovePorts": func(ctx context.Context, c *client.Client) error {
		return c.RemovePorts(ctx, "m", []string{"80"}, machd.PortOptions{})
	},
	ownManager + "ListPorts":       askingAbout((*client.Client).Ports),
	ownManager + "DescribeNetwork": askingAbout((*client.Client).Network),
	ownManager + "Diagnose": func(ctx context.Context, c *client.Client) error {
		_, err := c.Diagnose(ctx, "m", machd.DiagnoseOptions{})
		return err
	},
}

// uncalled are the methods that the client does not call, and which it calls
// instead.
var uncalled = map[string]string{
	// With no interfaces, the other one is the same.
	manager + "CreateMachine": manager + "CreateMachineWithNetwork",

	// What an object can do, the Manager can do to the object of a name. The
	// client has names: objects come and go, and one call is enough.
	machine + "Terminate":         manager + "TerminateMachine",
	machine + "Kill":              manager + "KillMachine",
	machine + "GetAddresses":      manager + "GetMachineAddresses",
	machine + "GetSSHInfo":        manager + "GetMachineSSHInfo",
	machine + "GetOSRelease":      manager + "GetMachineOSRelease",
	machine + "GetUIDShift":       manager + "GetMachineUIDShift",
	machine + "OpenPTY":           manager + "OpenMachinePTY",
	machine + "OpenLogin":         manager + "OpenMachineLogin",
	machine + "OpenShell":         manager + "OpenMachineShell",
	machine + "BindMount":         manager + "BindMountMachine",
	machine + "CopyFrom":          manager + "CopyFromMachine",
	machine + "CopyTo":            manager + "CopyToMachine",
	machine + "CopyFromWithFlags": manager + "CopyFromMachineWithFlags",
	machine + "CopyToWithFlags":   manager + "CopyToMachineWithFlags",
	machine + "OpenRootDirectory": manager + "OpenMachineRootDirectory",
	image + "Remove":              manager + "RemoveImage",
	image + "Rename":              manager + "RenameImage",
	image + "Clone":               manager + "CloneImage",
	image + "MarkReadOnly":        manager + "MarkImageReadOnly",
	image + "SetLimit":            manager + "SetImageLimit",
	image + "GetHostname":         manager + "GetImageHostname",
	image + "GetMachineID":        manager + "GetImageMachineID",
	image + "GetMachineInfo":      manager + "GetImageMachineInfo",
	image + "GetOSRelease":        manager + "GetImageOSRelease",

	ownMachine + "BindMount":       ownManager + "BindMount",
	ownMachine + "Unbind":          ownManager + "Unbind",
	ownMachine + "CopyFrom":        ownManager + "CopyFrom",
	ownMachine + "CopyTo":          ownManager + "CopyTo",
	ownMachine + "SetLimits":       ownManager + "SetLimits",
	ownMachine + "Stop":            ownManager + "StopMachine",
	ownMachine + "Terminate":       ownManager + "TerminateMachine",
	ownMachine + "Restart":         ownManager + "RestartMachine",
	ownMachine + "Wait":            ownManager + "WaitMachine",
	ownMachine + "Exec":            ownManager + "Exec",
	ownMachine + "GetUsage":        ownManager + "GetUsage",
	ownMachine + "AddPorts":        ownManager + "AddPorts",
	ownMachine + "RemovePorts":     ownManager + "RemovePorts",
	ownMachine + "DescribeNetwork": ownManager + "DescribeNetwork",
}

func TestEveryMethodHasACall(t *testing.T) {
	t.Parallel()
	members := readMembers(t, "method")
	ours, stock := newAnything(t, true), newAnything(t, false)
	for _, m := range members {
		do, called := calls[m.name]
		instead, skipped := uncalled[m.name]
		switch {
		case called && skipped:
			t.Errorf("%s is called, and is on the list of those that are not", m.name)
		case skipped:
			checkInstead(t, m, instead, members)
		case !called:
			t.Errorf("nothing in package client calls %s%s: add a call, or say what is called instead", m.name, m.in)
		case strings.HasPrefix(m.name, manager):
			stock.check(t, m, do)
		default:
			ours.check(t, m, do)
		}
	}
	there := func(name string) bool {
		return slices.ContainsFunc(members, func(m member) bool { return m.name == name })
	}
	for _, name := range slices.Concat(slices.Collect(maps.Keys(calls)), slices.Collect(maps.Keys(uncalled))) {
		if !there(name) {
			t.Errorf("there is no method %s", name)
		}
	}
}

// checkInstead wants instead to be called, and to give what m gives.
func checkInstead(t *testing.T, m member, instead string, members []member) {
	t.Helper()
	if _, ok := calls[instead]; !ok {
		t.Errorf("%s is not called, nor is %s", m.name, instead)
	}
	for _, other := range members {
		if other.name == instead && other.out != m.out {
			t.Errorf("%s gives %s, %s gives %s", m.name, m.out, instead, other.out)
		}
	}
}

// A property that is set shows in what the client makes of all of them.
func TestEveryPropertyIsToBeHad(t *testing.T) {
	t.Parallel()
	daemon := newAnything(t, true)
	things := map[string]func(ctx context.Context, c *client.Client) (any, error){
		manager: func(ctx context.Context, c *client.Client) (any, error) { return c.Pool(ctx) },
		machine: func(ctx context.Context, c *client.Client) (any, error) { return c.Machine(ctx, "m") },
		image:   func(ctx context.Context, c *client.Client) (any, error) { return c.Image(ctx, "i") },
	}
	for _, p := range readMembers(t, "property") {
		dot := strings.LastIndexByte(p.name, '.') + 1
		get, ok := things[p.name[:dot]]
		if !ok {
			t.Errorf("nothing in package client has the properties of %s", p.name[:dot-1])
			continue
		}
		daemon.set(nil, nil)
		without, err := get(t.Context(), daemon.client)
		if err != nil {
			t.Fatal(err)
		}
		daemon.set(map[string]dbus.Variant{p.name[dot:]: dbus.MakeVariant(someValue(t, p.out))}, nil)
		with, err := get(t.Context(), daemon.client)
		if err != nil {
			t.Fatal(err)
		}
		if reflect.DeepEqual(without, with) {
			t.Errorf("%s does not show in %+v", p.name, with)
		}
	}
}

func TestEverySignalIsAnEvent(t *testing.T) {
	t.Parallel()
	kinds := map[string]client.EventKind{
		manager + "MachineNew": client.Added, manager + "MachineRemoved": client.Removed,
		ownManager + "MachineReady": client.Ready, ownManager + "MachineFailed": client.Failed,
		ownManager + "MachineChanged": client.Changed,
	}
	daemon := newAnything(t, true)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	signals := readMembers(t, "signal")
	emit := func() {
		for _, s := range signals {
			body := typesOf(t, s.out)
			body[0] = reflect.ValueOf("m")
			args := make([]any, len(body))
			for i, v := range body {
				args[i] = v.Interface()
			}
			if err := daemon.conn.Emit(machine1.ObjectPath, s.name, args...); err != nil {
				t.Error(err)
			}
		}
	}
	seen := map[client.EventKind]bool{}
	daemon.set(nil, emit)
	for e, err := range daemon.client.Watch(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if seen[e.Kind] = true; len(seen) == len(signals) {
			break
		}
	}
	for _, s := range signals {
		if kind, ok := kinds[s.name]; !ok || !seen[kind] {
			t.Errorf("a watch does not tell of %s", s.name)
		}
	}
}
