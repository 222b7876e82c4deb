// Package install tests what make install installs and make uninstall removes.
package install

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const checkout = "../.."

func run(t *testing.T, target, destination string, variables ...string) {
	t.Helper()
	argv := append([]string{"-s", "-C", checkout, target, "DESTDIR=" + destination}, variables...)
	if out, err := exec.CommandContext(t.Context(), "make", argv...).CombinedOutput(); err != nil {
		t.Fatalf("make %s: %v\n%s", strings.Join(argv, " "), err, out)
	}
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			found = append(found, strings.TrimPrefix(path, dir))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestUninstallRemovesWhatInstallInstalled(t *testing.T) {
	run(t, "all", "")
	for prefix, policies := range map[string]string{"/usr": "/usr/share", "/usr/local": "/etc"} {
		dir := t.TempDir()
		other := filepath.Join(dir, prefix, "lib/systemd/system/systemd-machined.service")
		if err := os.MkdirAll(filepath.Dir(other), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(other, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		before := files(t, dir)
		run(t, "install", dir, "PREFIX="+prefix)
		installed := files(t, dir)
		for _, want := range []string{"libexec/machd", "bin/machctl", "lib/systemd/system/machd.service", "lib/systemd/system/machd.socket", "lib/systemd/system/machd.target",
			"lib/systemd/system/machine@.service", "lib/systemd/system-generators/machd-generator",
			"lib/systemd/user/machd.service", "lib/systemd/user/machd.socket",
			"share/polkit-1/actions/machd.policy",
			"share/bash-completion/completions/machctl", "share/fish/vendor_completions.d/machctl.fish",
			"share/man/man1/machctl.1", "share/man/man8/machd.8"} {
			if !slices.Contains(installed, filepath.Join(prefix, want)) {
				t.Errorf("%s is not installed under %s, but %q", want, prefix, installed)
			}
		}
		// The bus looks for policies in two places, neither of them below /usr/local.
		if policy := policies + "/dbus-1/system.d/org.machd.machine1.conf"; !slices.Contains(installed, policy) {
			t.Errorf("%s is not installed with PREFIX=%s", policy, prefix)
		}
		if !slices.ContainsFunc(installed, func(path string) bool { return filepath.Base(path) == "_machctl" }) {
			t.Errorf("zsh's completion is not installed under %s", prefix)
		}
		unit, err := os.ReadFile(filepath.Join(dir, prefix, "lib/systemd/system/machd.service"))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(unit), "\nExecStart="+prefix+"/libexec/machd\n") {
			t.Errorf("machd.service does not start the installed machd:\n%s", unit)
		}
		run(t, "uninstall", dir, "PREFIX="+prefix)
		if diff := cmp.Diff(before, files(t, dir)); diff != "" {
			t.Errorf("left behind (-before +after):\n%s", diff)
		}
	}
}

// Whoever removes machd's units while they are enabled has no machine manager at all.
func TestUninstallRefusesWhatIsEnabled(t *testing.T) {
	run(t, "all", "")
	dir := t.TempDir()
	run(t, "install", dir)
	link := filepath.Join(dir, "etc/systemd/system/systemd-machined.service")
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/usr/lib/systemd/system/machd.service", link); err != nil {
		t.Fatal(err)
	}
	before := files(t, dir)
	out, err := exec.CommandContext(t.Context(), "make", "-s", "-C", checkout, "uninstall", "DESTDIR="+dir).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "systemctl disable --now machd.socket machd.service") {
		t.Errorf("uninstall of what is enabled: %v\n%s", err, out)
	}
	if diff := cmp.Diff(before, files(t, dir)); diff != "" {
		t.Errorf("it was changed (-before +after):\n%s", diff)
	}
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	run(t, "uninstall", dir)
	if left := files(t, dir); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// Names of the systemd packages begin so, and would be overwritten.
func TestNoInstalledNameIsOneOfSystemd(t *testing.T) {
	run(t, "all", "")
	dir := t.TempDir()
	run(t, "install", dir, "PREFIX=/usr")
	for _, path := range files(t, dir) {
		name := filepath.Base(path)
		for _, theirs := range []string{"systemd-", "org.freedesktop.", "io.systemd.", "dbus-org."} {
			if strings.HasPrefix(name, theirs) {
				t.Errorf("%s may be a file of systemd", path)
			}
		}
	}
}
