package launch

import (
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sync/singleflight"

	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/pkg/nspawnfile"
)

// planUnits is what planning asks of PID 1.
type planUnits interface {
	// Properties loads the unit if need be. One that there is not has some, too.
	Properties(ctx context.Context, name string) (map[string]dbus.Variant, error)
}

// A template is the unit that the host's systemd would start a machine as, with
// all that the administrator has said about it.
type template struct {
	unit  string
	files string // what such units are made of, systemd-nspawn@.service
	all   map[string]dbus.Variant
	blank map[string]dbus.Variant
}

// blankUnit is one that there is not.
const blankUnit = "machd-blank.service"

// A blank is what a unit begins with on this host. PID 1 looks into all
// directories of units to tell it, so machines that are started together have
// one. It changes when PID 1 reads its configuration again, or with a drop-in
// for all services, which PID 1 may see without being told.
type blank struct {
	asking singleflight.Group

	mu    sync.Mutex
	kept  map[string]dbus.Variant
	until time.Time
	reads int // of its configuration by PID 1
}

const (
	blankLife = 5 * time.Second
	// blankLimit is how long PID 1 may take, whoever gives up waiting meanwhile.
	blankLimit = 30 * time.Second
)

// get returns what nobody may change.
func (b *blank) get(ctx context.Context, units planUnits) (map[string]dbus.Variant, error) {
	b.mu.Lock()
	kept, reads := b.kept, b.reads
	if time.Now().After(b.until) {
		kept = nil
	}
	b.mu.Unlock()
	if kept != nil {
		return kept, nil
	}
	answer := b.asking.DoChan(strconv.Itoa(reads), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), blankLimit)
		defer cancel()
		asked, err := units.Properties(ctx, blankUnit)
		if err != nil {
			return nil, err
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if reads == b.reads {
			b.kept, b.until = asked, time.Now().Add(blankLife)
		}
		return asked, nil
	})
	select {
	case r := <-answer:
		asked, _ := r.Val.(map[string]dbus.Variant)
		return asked, r.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (b *blank) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reads++
	b.kept = nil
}

// The templates that systemd brings.
const (
	containerTemplate = "systemd-nspawn@.service"
	vmTemplate        = "systemd-vmspawn@.service"
)

func (l *Launcher) template(ctx context.Context, name string, vm bool) (*template, error) {
	t := &template{files: containerTemplate}
	if vm {
		t.files = vmTemplate
	}
	t.unit = strings.Replace(t.files, "@", "@"+name, 1)
	var blankErr error
	var wait sync.WaitGroup
	wait.Go(func() { t.blank, blankErr = l.blank.get(ctx, l.cfg.Units) })
	var err error
	t.all, err = l.cfg.Units.Properties(ctx, t.unit)
	wait.Wait()
	return t, errors.Join(err, blankErr)
}

func (t *template) text(property string) string {
	text, _ := t.all[property].Value().(string)
	return text
}

func (t *template) list(property string) []string {
	list, _ := t.all[property].Value().([]string)
	return list
}

// check returns why no machine can be started after this template.
func (t *template) check() error {
	switch state := t.text("LoadState"); state {
	case "loaded":
		return nil
	case "masked":
		return machine1.Errorf(machine1.ErrNotSupported,
			"The administrator has masked %s; 'systemctl unmask' takes that back", t.unit)
	case "not-found":
		return machine1.Errorf(machine1.ErrNotSupported,
			"This host has no %s; it comes with %s, which many distributions have in the package systemd-container", t.files, strings.TrimSuffix(t.files, "@.service"))
	default:
		return machine1.Errorf(machine1.ErrNotSupported,
			"%s cannot be used: its state is %s; 'systemctl status %s' tells more", t.unit, state, t.unit)
	}
}

// administered reports whether an administrator has set up this very unit: he
// looks for the machine there. A mask counts, too.
func (t *template) administered() bool {
	fragment := filepath.Base(t.text("FragmentPath"))
	switch {
	case t.text("LoadState") == "masked", t.text("LoadState") == "loaded" && fragment != t.files:
		return true
	case slices.Contains([]string{"enabled", "enabled-runtime", "linked", "linked-runtime"}, t.text("UnitFileState")):
		return true
	}
	for _, reverse := range []string{"WantedBy", "RequiredBy", "RequisiteOf", "BoundBy", "UpheldBy"} {
		if len(t.list(reverse)) > 0 {
			return true
		}
	}
	return slices.ContainsFunc(t.list("DropInPaths"), func(path string) bool {
		return filepath.Base(filepath.Dir(path)) == t.unit+".d"
	})
}

// settable returns the properties that the template's files make, and the names
// of those that cannot be had without a file.
func (t *template) settable() (p properties, left []string) {
	p, left = settable(t.all, t.blank)
	t.removeRepeated(p)
	if usec, ok := t.watchdog(); ok {
		p.set("WatchdogUSec", usec)
	}
	return p, left
}

// watchdog returns the WatchdogSec= of the unit's files: PID 1 tells it only of
// a service that runs.
func (t *template) watchdog() (usec uint64, ok bool) {
	for file := range t.fileTexts() {
		for _, value := range file.Values("Service", "WatchdogSec") {
			if n, err := parseTime(value); err == nil {
				usec, ok = n, true
			}
		}
	}
	return usec, ok
}

// fileTexts yields the files of the unit in the order in which PID 1 reads them,
// and whether each is for services of all kinds.
func (t *template) fileTexts() iter.Seq2[*nspawnfile.File, bool] {
	return func(yield func(*nspawnfile.File, bool) bool) {
		for _, path := range append([]string{t.text("FragmentPath")}, t.list("DropInPaths")...) {
			text, err := os.ReadFile(path)
			if err != nil {
				continue // changed since PID 1 has read it
			}
			ofAll := filepath.Base(filepath.Dir(path)) == "service.d"
			if !yield(nspawnfile.Parse(string(text)), ofAll) {
				return
			}
		}
	}
}

// removeRepeated takes away the commands of drop-ins for services of all kinds:
// PID 1 adds those to every service, ours too, and would run them twice.
func (t *template) removeRepeated(p properties) {
	for name, signature := range structures {
		commands, some := p[name].Value().([]command)
		if signature != execs || !some {
			continue
		}
		key := strings.TrimSuffix(name, "Ex")
		var ofAll []bool // for each command
		for file, all := range t.fileTexts() {
			for e := range file.Entries() {
				switch {
				case e.Section != "Service" || e.Key != key:
				case e.Value == "":
					ofAll = nil
				default:
					ofAll = append(ofAll, all)
				}
			}
		}
		if len(ofAll) != len(commands) {
			continue // several in one line, or changed since PID 1 has read it
		}
		var kept []command
		for i, c := range commands {
			if !ofAll[i] {
				kept = append(kept, c)
			}
		}
		if len(kept) == 0 {
			delete(p, name)
			continue
		}
		p.set(name, kept)
	}
}
