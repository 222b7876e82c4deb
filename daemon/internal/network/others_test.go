package network

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// newOthers returns the network managers of a host whose files are below a
// directory of the test's, and whom they had read these again.
func newOthers(t *testing.T) (*others, *[]string) {
	t.Helper()
	dir := t.TempDir()
	var reloaded []string
	o := &others{
		paths: Paths{
			Networkd: []string{dir + "/etc", dir + "/run", dir + "/local"}, Ours: dir + "/run", Stock: dir + "/lib",
			NM: dir + "/NetworkManager/conf.d",
		},
		active: func(context.Context, string) (bool, error) { return true, nil },
		reload: func(_ context.Context, service string) { reloaded = append(reloaded, service) },
		log:    slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	return o, &reloaded
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestOtherManagersAreKeptOff(t *testing.T) {
	o, reloaded := newOthers(t)
	all := func() []string { return []string{"ve-*", "vz-*"} }
	o.keepOff(t.Context(), all)
	if _, err := os.Stat(o.paths.Ours); err == nil || len(*reloaded) > 0 {
		t.Errorf("on a host without any something is written, and %q reloaded", *reloaded)
	}

	put(t, o.paths.Stock+"/80-container-ve.network", "[Match]\nKind=veth\nName=ve-*\n")
	put(t, o.paths.Stock+"/80-container-vz.network", "[Match]\nKind=bridge\nName=vz-*\n")
	put(t, o.paths.Networkd[0]+"/80-container-vz.network", "[Match]\nName=vz-*\n") // in the stock one's place
	put(t, filepath.Dir(o.paths.NM)+"/state", "")
	o.keepOff(t.Context(), all)
	o.keepOff(t.Context(), all)
	if want := []string{Networkd, NetworkManager}; !slices.Equal(*reloaded, want) {
		t.Errorf("%q were reloaded, want each once: %q", *reloaded, want)
	}
	for path, want := range map[string]bool{
		o.paths.Ours + "/80-container-ve-machd.network": true,
		o.paths.Ours + "/80-container-vz-machd.network": false,
		o.paths.NM + "/80-machd.conf":                   true,
	} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s: %v", path, err)
		}
	}
	// Ours comes before the one that it stands in front of.
	files := glob(o.paths.Ours)
	if len(files) != 1 || filepath.Base(files[0]) >= "80-container-ve.network" {
		t.Errorf("the files are %q", files)
	}
	if o.claim("ve-a") {
		t.Error("our own file is taken for an administrator's")
	}

	// Where only some links are ours, others are theirs again.
	*reloaded = nil
	some := func() []string { return []string{"ve-a", "ve-b"} }
	o.keepOff(t.Context(), some)
	for path, want := range map[string]string{
		files[0]:                      "\nName=ve-a ve-b\n",
		o.paths.NM + "/80-machd.conf": "+=interface-name:ve-a;interface-name:ve-b\n",
	} {
		if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s is %s, %v", path, text, err)
		}
	}
	put(t, o.paths.Networkd[0]+"/80-container-ve.network", "[Match]\nName=ve-*\n")
	o.keepOff(t.Context(), some)
	if left := glob(o.paths.Ours); len(left) > 0 {
		t.Errorf("%q comes before an administrator's file", left)
	}
	o.keepOff(t.Context(), func() []string { return nil })
	if want := []string{Networkd, NetworkManager, Networkd, NetworkManager}; !slices.Equal(*reloaded, want) {
		t.Errorf("%q were reloaded, want %q", *reloaded, want)
	}
	if _, err := os.Stat(o.paths.NM + "/80-machd.conf"); err == nil {
		t.Error("the file of NetworkManager is left")
	}
}

func TestAnAdministratorsFileIsHeeded(t *testing.T) {
	for name, c := range map[string]struct {
		file, text string
		link       string
		want       bool
	}{
		"by name":             {"50-mine.network", "[Match]\nName=ve-a ve-b\n", "ve-b", true},
		"by a pattern":        {"50-mine.network", "[Match]\nName=ve-*\n", "ve-b", true},
		"by kind":             {"50-mine.network", "[Match]\nKind=veth\n", "ve-b", true},
		"of another kind":     {"50-mine.network", "[Match]\nKind=veth\n", "vz-b", false},
		"all but some":        {"50-mine.network", "[Match]\nName=!ve-a ve-b\n", "ve-c", true},
		"all but this":        {"50-mine.network", "[Match]\nName=!ve-a ve-b\n", "ve-b", false},
		"both have to match":  {"50-mine.network", "[Match]\nName=ve-*\nKind=bridge\n", "ve-b", false},
		"of another link":     {"50-mine.network", "[Match]\nName=en*\n", "ve-b", false},
		"behind the stock":    {"90-all.network", "[Match]\nName=*\n", "ve-b", false},
		"instead of stock":    {"80-container-ve.network", "[Match]\nName=ve-*\n", "ve-b", true},
		"about nothing known": {"50-mine.network", "[Match]\nMACAddress=02:00:00:00:00:01\n", "ve-b", false},
	} {
		o, _ := newOthers(t)
		put(t, o.paths.Stock+"/80-container-ve.network", "[Match]\nKind=veth\nName=ve-*\n")
		put(t, filepath.Join(o.paths.Networkd[0], c.file), c.text)
		if got := o.claim(c.link); got != c.want {
			t.Errorf("%s: %s is claimed: %t", name, c.link, got)
		}
		o.active = func(context.Context, string) (bool, error) { return false, nil }
		if o.claim(c.link) {
			t.Errorf("%s: without networkd %s is claimed", name, c.link)
		}
	}
}
