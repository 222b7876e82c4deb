package network

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/machd/machd/daemon/internal/wholefile"
	"github.com/machd/machd/pkg/nspawnfile"
)

// The network managers of a host, by their names on the bus.
const (
	Networkd       = "org.freedesktop.network1"
	NetworkManager = "org.freedesktop.NetworkManager"
)

// stockNetworks are the files by which systemd-networkd takes over the links of
// machines, where it runs, unless another comes before them.
var stockNetworks = map[string]string{
	"80-container-ve.network": "ve-*",
	"80-container-vz.network": "vz-*",
}

// others are the network managers of the host. They are to leave our links
// alone, unless an administrator told them otherwise: then it is he who decides.
type others struct {
	paths  Paths
	active func(ctx context.Context, unit string) (bool, error)
	reload func(ctx context.Context, service string)
	log    *slog.Logger

	mu sync.Mutex // one change of the files at a time
}

// keepOff writes the files by which they leave links alone, names or patterns, and
// removes those of an earlier call that are not needed any more.
func (o *others) keepOff(ctx context.Context, links func() []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	all, changed := links(), false
	for stock, pattern := range stockNetworks {
		path := filepath.Join(o.paths.Ours, strings.TrimSuffix(stock, ".network")+"-machd.network")
		names := slices.DeleteFunc(slices.Clone(all), func(link string) bool {
			return !strings.HasPrefix(link, strings.TrimSuffix(pattern, "*"))
		})
		text := ""
		if len(names) > 0 && o.hasStock(stock) {
			text = "# These links of machines are machd's, see machd(8). A file of your own that matches\n" +
				"# them wins over this one, and has machd leave them alone.\n" +
				"[Match]\nName=" + strings.Join(names, " ") + "\n\n[Link]\nUnmanaged=yes\n"
		}
		changed = o.write(path, text) || changed
	}
	if changed {
		o.reload(ctx, Networkd)
	}
	if _, err := os.Stat(filepath.Dir(o.paths.NM)); err != nil {
		return
	}
	text := ""
	if len(all) > 0 {
		text = "# These links of machines are machd's, see machd(8).\n" +
			"[keyfile]\nunmanaged-devices+=interface-name:" + strings.Join(all, ";interface-name:") + "\n"
	}
	if o.write(filepath.Join(o.paths.NM, "80-machd.conf"), text) {
		o.reload(ctx, NetworkManager)
	}
}

// write reports whether the file is another one now. One without a text is
// removed.
func (o *others) write(path, text string) bool {
	old, err := os.ReadFile(path)
	if err == nil && string(old) == text || errors.Is(err, fs.ErrNotExist) && text == "" {
		return false
	}
	if text == "" {
		err = os.Remove(path)
	} else if err = os.MkdirAll(filepath.Dir(path), 0o755); err == nil {
		err = wholefile.Write(path, []byte(text), 0o644)
	}
	if err != nil {
		o.log.Warn("Another network manager is not told which links of machines are whose.", "path", path, "error", err)
	}
	return err == nil
}

// hasStock reports whether networkd has the file, and no administrator one that
// stands in its place.
func (o *others) hasStock(name string) bool {
	for _, dir := range o.paths.Networkd {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return false
		}
	}
	_, err := os.Stat(filepath.Join(o.paths.Stock, name))
	return err == nil
}

// claim reports whether an administrator has told networkd what to do with a
// link: the first file that matches it is neither ours nor systemd's own.
func (o *others) claim(link string) bool {
	byName := map[string]string{}
	for _, dir := range slices.Backward(append(slices.Clone(o.paths.Networkd), o.paths.Stock)) {
		for _, path := range slices.DeleteFunc(glob(dir), o.isOurs) {
			byName[filepath.Base(path)] = path
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		path := byName[name]
		if !matches(path, link) {
			continue
		}
		if filepath.Dir(path) == o.paths.Stock {
			return false
		}
		active, err := o.active(context.Background(), "systemd-networkd.service")
		return active || err != nil // who is not known not to run may well do
	}
	return false
}

func (o *others) isOurs(path string) bool {
	return filepath.Dir(path) == o.paths.Ours && strings.HasSuffix(path, "-machd.network")
}

func glob(dir string) []string {
	list, _ := filepath.Glob(filepath.Join(dir, "*.network"))
	return list
}

// matches reports whether a .network file is for a link, by its name and kind.
// Other conditions are passed over; a file that has only such, or none at all, is
// not about links of machines.
//
// Reference: systemd.network(5), [Match].
func matches(path, link string) bool {
	text, err := os.ReadFile(path)
	if err != nil {
		return false // a link to /dev/null, as a rule, is empty
	}
	f := nspawnfile.Parse(string(text))
	kind := "veth"
	if strings.HasPrefix(link, "vz-") {
		kind = "bridge"
	}
	conditions := 0
	for key, value := range map[string]string{"Name": link, "OriginalName": link, "Kind": kind, "Driver": kind, "Type": "ether"} {
		patterns := words(f.Values("Match", key))
		if len(patterns) == 0 {
			continue
		}
		conditions++
		if !anyMatches(patterns, value) {
			return false
		}
	}
	return conditions > 0
}

// anyMatches knows the exclamation mark before a list, which turns it round.
func anyMatches(patterns []string, value string) bool {
	first, inverted := strings.CutPrefix(patterns[0], "!")
	patterns = append([]string{first}, patterns[1:]...)
	return inverted != slices.ContainsFunc(patterns, func(pattern string) bool {
		ok, _ := filepath.Match(pattern, value)
		return ok
	})
}
