package launch

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/pkg/nspawnfile"
)

func TestPortsInSettings(t *testing.T) {
	t.Parallel()
	const there = "# by hand\n[Network]\nPort=tcp:81\nPort=82:80\n[X-Machd]\nPublish=8080:80 53/udp\nPublish=7000-7002\nExposeHost=5432\n"
	for what, c := range map[string]struct {
		text   string
		inward bool
		add    []string
		remove []string
		want   string
	}{
		"the first":         {"", false, []string{"8080:80"}, nil, "[X-Machd]\nPublish=8080:80/tcp\n"},
		"the first inward":  {"", true, []string{"80:8080"}, nil, "[X-Machd]\nExposeHost=80:8080/tcp\n"},
		"those it has":      {there, false, []string{"81", "8080:80", "7000-7002", "53/udp"}, nil, there},
		"another of a port": {there, false, []string{"8080:81"}, nil, "# by hand\n[Network]\nPort=tcp:81\nPort=82:80\n[X-Machd]\nPublish=8080:80 53/udp\nPublish=7000-7002\nPublish=8080:81/tcp\nExposeHost=5432\n"},
		"one of a line":     {there, false, nil, []string{"8080:80"}, "# by hand\n[Network]\nPort=tcp:81\nPort=82:80\n[X-Machd]\nPublish=7000-7002\nPublish=53/udp\nExposeHost=5432\n"},
		"one of a range":    {there, false, nil, []string{"7001"}, "# by hand\n[Network]\nPort=tcp:81\nPort=82:80\n[X-Machd]\nPublish=8080:80 53/udp\nPublish=7000/tcp\nPublish=7002/tcp\nExposeHost=5432\n"},
		"systemd-nspawn's":  {there, false, nil, []string{"81"}, "# by hand\n[Network]\nPort=82:80\n[X-Machd]\nPublish=8080:80 53/udp\nPublish=7000-7002\nExposeHost=5432\n"},
		"an inward one":     {there, true, nil, []string{"5432"}, "# by hand\n[Network]\nPort=tcp:81\nPort=82:80\n[X-Machd]\nPublish=8080:80 53/udp\nPublish=7000-7002\n"},
		"one it has not":    {there, false, nil, []string{"8080:81", "5432"}, there},
	} {
		s := savedPorts{file: nspawnfile.Parse(c.text), inward: c.inward}
		for texts, do := range map[*[]string]func([]machd.Port){&c.add: s.add, &c.remove: s.remove} {
			if len(*texts) == 0 {
				continue
			}
			ports, err := machd.ParsePortList(*texts, c.inward)
			if err != nil {
				t.Fatal(err)
			}
			do(ports)
		}
		if diff := cmp.Diff(c.want, s.file.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
}

func TestPortsAreSavedInAFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "nspawn", "web.nspawn")
	ports := []machd.Port{{Protocol: machd.TCP, Host: 8080, Guest: 80}}
	if err := changeSettings(path, nil, false, func(s *savedPorts) { s.add(ports) }); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "[X-Machd]\nPublish=8080:80/tcp\n" {
		t.Errorf("it has %q, %v", text, err)
	}
	if err := changeSettings(path, nil, false, func(s *savedPorts) { s.remove(ports) }); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file with nothing in it is left: %v", err)
	}
	other := &settingsFile{file: nspawnfile.Parse("[Exec]\nBoot=no\n")}
	if err := changeSettings(path, other, false, func(s *savedPorts) { s.add(ports) }); !errors.Is(err, machine1.ErrNotSupported) || exists(path) {
		t.Errorf("what is believed in part only is hidden: %v", err)
	}
	other.trusted = true
	if err := changeSettings(path, other, false, func(s *savedPorts) { s.add(ports) }); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "[Exec]\nBoot=no\n\n[X-Machd]\nPublish=8080:80/tcp\n" {
		t.Errorf("it has %q, %v, and hides what was read before", text, err)
	}
	l := &Launcher{}
	if err := l.SavePorts("../web", ports, false); err == nil {
		t.Errorf("a name that is a path is taken")
	}
}
