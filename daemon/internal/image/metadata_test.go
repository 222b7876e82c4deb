package image

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/dissect"
	"github.com/machd/machd/daemon/internal/envfile"
)

// speaking is an image that says all it can.
func speaking(t *testing.T) (dir string, want Metadata) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "a")
	for path, text := range map[string]string{
		"etc/hostname":       "# comment\n\n web.example.com. \n",
		"etc/machine-id":     "0123456789abcdef0123456789abcdef\n",
		"etc/machine-info":   "DEPLOYMENT=prod\nCHASSIS=\"container\"\n",
		"usr/lib/os-release": "ID=x\nNAME=\"X Y\"\nVERSION_ID=3\n",
	} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../usr/lib/os-release", filepath.Join(dir, "etc/os-release")); err != nil {
		t.Fatal(err)
	}
	return dir, Metadata{
		Hostname:    "web.example.com",
		MachineID:   [16]byte{1, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 1, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef},
		MachineInfo: envfile.List{{Key: "DEPLOYMENT", Value: "prod"}, {Key: "CHASSIS", Value: "container"}},
		OSRelease:   envfile.List{{Key: "ID", Value: "x"}, {Key: "NAME", Value: "X Y"}, {Key: "VERSION_ID", Value: "3"}},
	}
}

func TestMetadataOfADirectory(t *testing.T) {
	t.Parallel()
	dir, want := speaking(t)
	s := NewStore(Config{Dirs: []string{filepath.Dir(dir)}, LockDir: t.TempDir()})
	i, err := s.Get(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Metadata(t.Context(), i)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestMetadataOfATrap has every file be something that must not be read.
func TestMetadataOfATrap(t *testing.T) {
	t.Parallel()
	dir, _ := speaking(t)
	for path, lay := range map[string]func(path string) error{
		"etc/hostname":     func(path string) error { return unix.Mkfifo(path, 0o644) },
		"etc/machine-id":   func(path string) error { return os.Symlink("/proc/sys/kernel/random/boot_id", path) },
		"etc/machine-info": func(path string) error { return os.WriteFile(path, make([]byte, maxMetadataFile+1), 0o644) },
		"etc/os-release":   func(path string) error { return os.Symlink("os-release", path) },
	} {
		path = filepath.Join(dir, path)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := lay(path); err != nil {
			t.Fatal(err)
		}
	}
	s := NewStore(Config{Dirs: []string{filepath.Dir(dir)}, LockDir: t.TempDir()})
	i, err := s.Get(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Metadata(t.Context(), i)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Metadata{}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestMetadataOfADisk needs loop devices, which the booted hosts have.
func TestMetadataOfADisk(t *testing.T) {
	if os.Getenv("MACHD_TEST_HOST") == "" {
		t.Skip("systemd-dissect needs a booted systemd")
	}
	dir, want := speaking(t)
	for _, empty := range []string{"proc", "sys", "dev", "run", "tmp", "var"} {
		if err := os.Mkdir(filepath.Join(dir, empty), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	disk := dir + ".raw"
	if err := os.Truncate(mustCreate(t, disk), 40<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-d", dir, disk).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got, err := readDisk(t.Context(), disk)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if _, err := readDisk(t.Context(), mustCreate(t, filepath.Join(t.TempDir(), "none.raw"))); err == nil {
		t.Error("an empty file was taken for a disk")
	}
}

func mustCreate(t *testing.T, path string) string {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestHostnameOfAFile(t *testing.T) {
	t.Parallel()
	// What is expected is what systemd-machined 262 says.
	for text, want := range map[string]string{
		"host": "host", "# c\n\n  host2  \n": "host2", "my_host\n": "myhost", "..a..b\n": "a.b",
		"-x-\n": "x", "x-.\n": "x", "a-.-b\n": "a--b", "UPPER\n": "UPPER", "sp aces in\n": "spacesin",
		"ümlaut\n": "mlaut", "\n\n": "", "": "", "host\r\n": "host", "host\x00more\n": "host",
		"#only": "", ";x\n": "x", "!!!\n": "", "h????$\n": "h????$", "\tq\n": "q",
		strings.Repeat("a", 70):          strings.Repeat("a", 64),
		strings.Repeat("a", 63) + ".b\n": strings.Repeat("a", 63),
	} {
		if got := parseHostname(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestMachineIDOfAFile(t *testing.T) {
	t.Parallel()
	const id = "0123456789abcdef0123456789abcdef"
	for _, good := range []string{id, id + "\n", strings.ToUpper(id)} {
		if parseMachineID(good) == [16]byte{} {
			t.Errorf("%q is no ID", good)
		}
	}
	for _, bad := range []string{"", "\n", "uninitialized\n", id + "\n\n", " " + id, id + "0", id[1:] + "g",
		"01234567-89ab-cdef-0123-456789abcdef\n", strings.Repeat("0", 32)} {
		if got := parseMachineID(bad); got != [16]byte{} {
			t.Errorf("%q is ID %x", bad, got)
		}
	}
}

func FuzzParseHostname(f *testing.F) {
	f.Add("# c\n a.-b..\n")
	f.Fuzz(func(t *testing.T, text string) {
		name := parseHostname(text)
		if len(name) > maxHostname || strings.Trim(name, ".") != name || strings.Contains(name, "..") {
			t.Errorf("%q: name %q", text, name)
		}
	})
}

func FuzzMetadataOfADisk(f *testing.F) {
	f.Add([]byte(`{"hostname":"a","machineId":"0123456789abcdef0123456789abcdef","machineInfo":["A=b"],"osRelease":["ID=x","y"]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var d dissect.Description
		err := json.Unmarshal(text, &d)
		if m := metadataOf(d); err == nil && m.Hostname != parseHostname(m.Hostname) {
			t.Errorf("host name %q is none", m.Hostname)
		}
	})
}
