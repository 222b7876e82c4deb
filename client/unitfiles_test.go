package client

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUnitFilesOfOneMachine(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	path := func(name string) string { return filepath.Join(root, "etc/systemd/system", name) }
	for _, name := range []string{
		"systemd-nspawn@web.service.d/50-machd.conf", "systemd-nspawn@web.service.d/mine.conf", "systemd-nspawn@web2.service.d/50-machd.conf",
		"machines.target.wants/machine@web.service", "machines.target.wants/machine@web2.service", "a.target.requires/systemd-vmspawn@web.service",
		"a.target.wants/systemd-nspawn@web.service",
	} {
		if err := os.MkdirAll(filepath.Dir(path(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("/usr/lib/systemd/system/template@.service", path(name)); err != nil {
			t.Fatal(err)
		}
	}
	own := path("b.target.wants/machine@web.service")
	if err := os.MkdirAll(filepath.Dir(own), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/systemd/system/machine@web.service", own); err != nil {
		t.Fatal(err)
	}
	want := []UnitFile{
		{Path: path("systemd-nspawn@web.service.d/50-machd.conf")},
		{Path: path("systemd-nspawn@web.service.d/mine.conf"), Foreign: true},
		{Path: own, Enables: true, Foreign: true},
		{Path: path("machines.target.wants/machine@web.service"), Enables: true},
		{Path: path("a.target.wants/systemd-nspawn@web.service"), Enables: true},
		{Path: path("a.target.requires/systemd-vmspawn@web.service"), Enables: true},
	}
	if diff := cmp.Diff(want, unitFiles(root, "web")); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if files := unitFiles(root, "*"); files != nil {
		t.Errorf("of no name of a machine: %v", files)
	}
}
