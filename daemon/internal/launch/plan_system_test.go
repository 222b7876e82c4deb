package launch

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// onRealPID1 returns a launcher that asks the host's own PID 1 and images.
func onRealPID1(t *testing.T) (*Launcher, *unit.Manager) {
	t.Helper()
	if _, err := os.Stat("/run/systemd/system"); err != nil || os.Getuid() != 0 {
		t.Skip("needs root on a booted systemd")
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	conn, err := bus.Dial(t.Context(), bus.SystemAddress())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	units, err := unit.Connect(t.Context(), conn, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- units.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	machines, err := machine.New(machine.Config{Dir: t.TempDir(), Units: units, Emit: func(machine.Event) {}, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{Units: units, Machines: machines, Images: image.NewStore(image.SystemConfig()), Log: log}), units
}

// Whatever PID 1 tells of a unit, we know whether it can be set.
func TestEveryPropertyIsKnown(t *testing.T) {
	_, units := onRealPID1(t)
	all, err := units.Properties(t.Context(), "systemd-nspawn@nosuch.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		in := 0
		for _, known := range []bool{isPlain[name], structures[name] != "", isDerived[name], isByFileOnly[name]} {
			if known {
				in++
			}
		}
		if in != 1 {
			t.Errorf("%s, a %s, is in %d tables", name, all[name].Signature(), in)
		}
	}
}

// drop adds a drop-in to a unit for the time of the test. Of two with the same
// file name PID 1 would read only the more special one.
func drop(t *testing.T, unit, file, text string) {
	t.Helper()
	dir := filepath.Join("/etc/systemd/system", unit+".d")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	reload := func() {
		if out, err := exec.Command("systemctl", "daemon-reload").CombinedOutput(); err != nil {
			t.Errorf("daemon-reload: %v: %s", err, out)
		}
	}
	reload()
	t.Cleanup(func() { os.RemoveAll(dir); reload() })
}

// dropIns say something of every kind that is set in another form than it is
// read in, or is not read at all.
const dropIns = `[Unit]
After=sshd.service a-unit-that-there-is-not.service
Wants=a-unit-that-there-is-not.service
RequiresMountsFor=/srv /var/tmp
ConditionPathExists=/var/lib/machines
ConditionPathExists=!/nonexistent
ConditionHost=|testhost
ConditionHost=|!nosuch
AssertPathExists=/usr
StartLimitBurst=7
StartLimitIntervalSec=3min
OnFailure=a-unit-that-there-is-not.service
[Service]
Environment=A=1 "B=two words" C='$x %%'
EnvironmentFile=-/nonexistent
PassEnvironment=PATH HOME
DeviceAllow=/dev/kvm rw
DeviceAllow=char-usb_device r
ExecStartPre=/bin/true one "two words" '$HOME' %%
ExecStartPre=-/bin/false
ExecStartPre=+:/bin/true
ExecStartPost=/bin/true
ExecStopPost=-/bin/true stopped
LimitNOFILE=4096:8192
LimitMEMLOCK=infinity
MemoryHigh=2G
MemoryMax=3G
CPUQuota=150%
CPUWeight=50
TasksMax=9999
IOWeight=200
IOReadBandwidthMax=/ 1M
IPAddressAllow=10.0.0.0/8 fe80::/64
IPAddressDeny=any
BindReadOnlyPaths=/etc:/mnt
RestartSec=7
Restart=on-failure
RestartPreventExitStatus=7 SIGUSR1
SuccessExitStatus=1 SIGUSR2
TimeoutStopSec=33
TimeoutStartSec=44
WatchdogSec=2min 5s
Nice=-1
OOMScoreAdjust=-100
UMask=0027
LogExtraFields=KIND=test
LogRateLimitBurst=77
LogLevelMax=info
LogFilterPatterns=~nonsense
SyslogIdentifier=guest
StandardError=journal+console
SystemCallFilter=~swapon
RestrictAddressFamilies=~AF_PACKET
CapabilityBoundingSet=~CAP_SYS_TIME
AllowedCPUs=0-1
CPUAffinity=0
Slice=machine.slice
LoadCredential=one:/etc/hostname
SetCredential=two:text
RuntimeDirectory=guests/%i
StateDirectory=guests:alias
TemporaryFileSystem=/mnt2:ro
KillSignal=SIGRTMIN+3
FileDescriptorStoreMax=3
`

// ofOurs are the properties that a unit of ours has beyond the stock one.
var ofOurs = map[string]func(name string) any{
	"After":          func(string) any { return []string{"machd.target"} },
	"Before":         func(name string) any { return []string{machineUnit(name)} },
	"CollectMode":    func(string) any { return "inactive-or-failed" },
	"ExecStopPostEx": func(name string) any { return []command{removeExport(name)} },
}

// The same machine as the stock unit and as ours: PID 1 shows the same of both,
// but for what is in the list.
func TestAPlanIsTheTemplateWithItsDropIns(t *testing.T) {
	l, units := onRealPID1(t)
	for name, text := range map[string]string{"planned-plain": "", "planned-dropins": dropIns} {
		t.Run(name, func(t *testing.T) {
			if text != "" {
				drop(t, "systemd-nspawn@.service", "test.conf", text)
				drop(t, "service", "zz-test.conf", "[Service]\nExecStartPre=/bin/true %n\nEnvironment=OF=all\n")
			}
			root := filepath.Join("/var/lib/machines", name)
			if err := os.Mkdir(root, 0o755); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.Remove(root) })
			plan, err := l.Plan(t.Context(), name, machd.StartOptions{})
			if err != nil || len(plan.Notes) > 0 || plan.Existing {
				t.Fatalf("the plan is %+v, %v", plan, err)
			}
			ours, theirs := started(t, units, plan), stockStarted(t, units, name)
			for key, value := range theirs {
				want := value.Value()
				if of := ofOurs[key]; of != nil {
					want = joint(want, of(name))
				}
				if key == execStart {
					runs, _ := want.([]command)
					runs = slices.Clone(runs)
					runs[0].Argv = slices.Insert(slices.Clone(runs[0].Argv), 1, registers)
					want = runs
				}
				if key == "ExecStartPreEx" { // one of them has the unit's name
					want = replacedIn(want, machine1.ServiceUnit(name), plan.Unit)
				}
				if got := ours[key].Value(); !alike(got, want) && !oursOnlyBefore258(key, got, value.Value()) {
					t.Errorf("%s of ours is %v, of the stock unit %v", key, got, value.Value())
				}
			}
		})
	}
}

// started starts what was planned and returns what PID 1 has made of it. The
// machine does not start: its directory is empty.
func started(t *testing.T, units *unit.Manager, plan Plan) properties {
	t.Helper()
	job, err := units.StartTransient(t.Context(), plan.Unit, "fail", plan.Properties)
	if err != nil {
		t.Fatalf("%v\n%v", err, plan.Properties)
	}
	if _, err := units.WaitJob(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		exec.Command("systemctl", "stop", plan.Unit).Run() // it may be about to try again
		exec.Command("systemctl", "reset-failed", plan.Unit).Run()
	})
	return propertiesOf(t, units, plan.Unit)
}

func stockStarted(t *testing.T, units *unit.Manager, name string) properties {
	t.Helper()
	stock := machine1.ServiceUnit(name)
	if exec.Command("systemctl", "start", stock).Run() == nil {
		t.Fatal("a machine started in an empty directory")
	}
	t.Cleanup(func() {
		exec.Command("systemctl", "stop", stock).Run()
		exec.Command("systemctl", "reset-failed", stock).Run()
	})
	return propertiesOf(t, units, stock)
}

// propertiesOf returns all properties that can be set.
func propertiesOf(t *testing.T, units *unit.Manager, name string) properties {
	t.Helper()
	all, err := units.Properties(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	p, _ := settable(all, nil)
	return p
}

// replacedIn replaces an argument of commands.
func replacedIn(commands any, old, with string) any {
	list := slices.Clone(commands.([]command))
	for i, c := range list {
		list[i].Argv = slices.Clone(c.Argv)
		for j, word := range c.Argv {
			if word == old {
				list[i].Argv[j] = with
			}
		}
	}
	return list
}

// joint returns a list with more in it, or the other value of one that is none.
func joint(value, more any) any {
	switch list := value.(type) {
	case []string:
		return append(slices.Clone(list), more.([]string)...)
	case []command:
		return append(slices.Clone(list), more.([]command)...)
	}
	return more
}

// oursOnlyBefore258 reports whether it is only that the stock unit cleans up by
// itself, so that ours need not.
func oursOnlyBefore258(key string, ours, theirs any) bool {
	return key == "ExecStopPostEx" && alike(ours, theirs) && strings.Contains(fmt.Sprint(theirs), "--cleanup")
}
