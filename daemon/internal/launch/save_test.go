package launch

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/pkg/nspawnfile"
)

// saved returns what is in the two files of the machine web after o was saved
// on top of what is there, "" for one that stays as it is.
func saved(t *testing.T, there map[string]string, o machd.StartOptions, command ...string) (settings, dropIn string) {
	t.Helper()
	files, err := savedFiles("web", o, command, nil, func(path string) (string, error) { return there[path], nil })
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		switch f.Path {
		case SettingsPath("web"):
			settings = string(f.Content)
		case DropInPath("web"):
			dropIn = string(f.Content)
		default:
			t.Errorf("it writes %s", f.Path)
		}
	}
	return settings, dropIn
}

func TestOptionsAreSavedWhereEverybodyReadsThem(t *testing.T) {
	t.Parallel()
	settings, dropIn := saved(t, nil, machd.StartOptions{
		Boot: "yes", Command: []string{"--log-level=debug", "a b"},
		Bind: []string{"/srv:/mnt"}, BindReadOnly: []string{"/etc/hosts"}, Environment: []string{"A=1", "B=x y"},
		Hostname: "shop", PrivateUsers: "pick", Capabilities: []string{"CAP_NET_ADMIN"}, StopSignal: "SIGTERM", Ephemeral: true,
		Limits:     machd.Limits{Memory: "30%", CPUs: "0.5", Tasks: "100", IOWeight: "50"},
		Properties: []string{"After=a.mount", "Nice=5"}, Slice: "shop.slice", Restart: machd.RestartAlways,
		StopTimeout: 90 * time.Second, Protect: true,
	}, "/usr/bin/systemd-nspawn", "--boot", "--bind=/a b:/%i")
	wantSettings := `[Exec]
Boot=yes
Parameters=--log-level=debug "a b"
Hostname=shop
PrivateUsers=pick
KillSignal=SIGTERM
Ephemeral=yes
Environment=A=1
Environment="B=x y"
Capability=CAP_NET_ADMIN

[Files]
Bind=/srv:/mnt
BindReadOnly=/etc/hosts
`
	wantDropIn := `[Service]
MemoryMax=30%
TasksMax=100
CPUQuota=50%
IOWeight=50
Slice=shop.slice
Restart=always
TimeoutStopSec=90000000us
Nice=5
ExecStart=
ExecStart=/usr/bin/systemd-nspawn --boot "--bind=/a b:/%%i"

[Unit]
RefuseManualStop=yes
After=a.mount
`
	if diff := cmp.Diff([]string{wantSettings, wantDropIn}, []string{settings, dropIn}); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestSavingKeepsWhatWasThere(t *testing.T) {
	t.Parallel()
	there := map[string]string{
		SettingsPath("web"): "# by hand\n[Exec]\nEnvironment=A=1\nEnvironment=C=1 A=2\n\n[Files]\nBind = /srv\n[X-Machd]\nNote=1\n",
		DropInPath("web"):   "[Service]\nCPUQuota=20%\n# mine\nMemoryMax=1G\n",
	}
	settings, dropIn := saved(t, there, machd.StartOptions{
		Environment: []string{"A=3"}, Bind: []string{"/srv", "/opt"}, Limits: machd.Limits{CPUs: "infinity"},
	})
	wantSettings := "# by hand\n[Exec]\nEnvironment=C=1 A=2\nEnvironment=A=3\n\n[Files]\nBind = /srv\nBind=/opt\n[X-Machd]\nNote=1\n"
	wantDropIn := "[Service]\nCPUQuota=\n# mine\nMemoryMax=1G\n"
	if diff := cmp.Diff([]string{wantSettings, wantDropIn}, []string{settings, dropIn}); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if settings, dropIn := saved(t, there, machd.StartOptions{Limits: machd.Limits{Memory: "1G"}}); settings+dropIn != "" {
		t.Errorf("what is saved already is written again:\n%s%s", settings, dropIn)
	}
}

// What is read as long as there is no file in /etc is not lost to the one that
// hides it.
func TestSavingHidesNothing(t *testing.T) {
	t.Parallel()
	read := func(string) (string, error) { return "", nil }
	o := machd.StartOptions{Hostname: "shop", Limits: machd.Limits{Tasks: "100"}}
	instead := &settingsFile{trusted: true, file: nspawnfile.Parse("[Files]\nBind=/srv\n")}
	files, err := savedFiles("web", o, nil, instead, read)
	if want := "[Files]\nBind=/srv\n\n[Exec]\nHostname=shop\n"; err != nil || len(files) != 2 || string(files[0].Content) != want {
		t.Errorf("%q, %v, want %q", files, err, want)
	}
	instead.trusted = false
	if files, err := savedFiles("web", o, nil, instead, read); !errors.Is(err, machine1.ErrNotSupported) || files != nil {
		t.Errorf("settings beside the image are hidden: %q, %v", files, err)
	}
	o.Hostname = ""
	if files, err := savedFiles("web", o, nil, instead, read); err != nil || len(files) != 1 || files[0].Path != DropInPath("web") {
		t.Errorf("what hides no settings: %q, %v", files, err)
	}
}

func TestWhatNoSettingStandsForIsNotSaved(t *testing.T) {
	t.Parallel()
	read := func(string) (string, error) { return "", nil }
	for name, o := range map[string]machd.StartOptions{
		"overlay":     {Overlay: true},
		"vm":          {VM: true},
		"two lines":   {Environment: []string{"A=1\nBoot=no"}},
		"two as well": {Hostname: "x\rBoot=no"},
	} {
		if files, err := savedFiles("web", o, nil, nil, read); !errors.Is(err, machine1.ErrInvalidArgs) || files != nil {
			t.Errorf("%s: %v, %v", name, files, err)
		}
	}
	broken := errors.New("it is broken")
	_, err := savedFiles("web", machd.StartOptions{Hostname: "x"}, nil, nil, func(string) (string, error) { return "", broken })
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "saved before") {
		t.Errorf("a file that cannot be read: %v", err)
	}
}
