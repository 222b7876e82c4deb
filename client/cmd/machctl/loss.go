package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/machd/machd/client"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// lossesOf tells what goes with images that are removed, if somebody wants to know.
// Of what is not there the removal itself tells.
func (a *app) lossesOf(ctx context.Context, names []string) (losses []loss, err error) {
	if !a.asks() && !a.dryRun {
		return nil, nil
	}
	ours, err := a.isMachd(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		switch there, err := a.hasImage(ctx, name); {
		case err != nil:
			return nil, err
		case !there:
			continue
		}
		l := loss{what: "image", name: name, usage: client.Unknown}
		if ours {
			l.usage = a.imageUsage(ctx, name)
			l.note = a.snapshotNote(ctx, name)
		}
		if err := a.noteUsers(ctx, "remove", &l); err != nil {
			return nil, err
		}
		losses = append(losses, l)
		if a.withSettings {
			losses = append(losses, a.settingsLosses(name, ours)...)
		}
	}
	return losses, nil
}

// settingsLosses tells what goes besides the image, if settings do. A daemon that is
// not ours knows .nspawn files only.
func (a *app) settingsLosses(name string, ours bool) (losses []loss) {
	add := func(what, name, note string) {
		losses = append(losses, loss{what: what, name: name, usage: client.Unknown, note: note})
	}
	settings, there := a.settingsOf(name)
	switch {
	case a.elsewhere():
		add("settings", name+".nspawn", "if it is there")
	case there:
		add("settings", settings, "")
	}
	switch {
	case a.user || !ours || !machine1.ValidMachineName(name):
	case a.elsewhere():
		add("settings", machine1.ServiceUnit(name)+".d/50-machd.conf", "if it is there")
		add("enablement", client.DependedUnit(name), "if it is enabled")
	default:
		for _, file := range client.UnitFiles(name) {
			switch {
			case file.Foreign:
			case file.Enables:
				add("enablement", file.Path, "")
			default:
				add("settings", file.Path, "")
			}
		}
	}
	return losses
}

// noteUsers notes of an image which machines run from it, and that they keep it
// from what is to be done.
func (a *app) noteUsers(ctx context.Context, verb string, l *loss) error {
	machines, err := a.imageUsers(ctx, l.name)
	if err != nil || len(machines) == 0 {
		return err
	}
	notes := []string{"in use by " + strings.Join(machines, ", ")}
	if l.note != "" {
		notes = append(notes, l.note)
	}
	l.note = strings.Join(notes, "; ")
	l.kept = fmt.Errorf("cannot %s image %q: %w", verb, l.name, errInUse(l.name, machines))
	return nil
}

// imageUsage is how large an image is, if that can be told.
func (a *app) imageUsage(ctx context.Context, name string) uint64 {
	ctx, cancel := a.limit(ctx)
	defer cancel()
	usage, err := a.client.ImageUsage(ctx, name)
	if err != nil {
		return client.Unknown
	}
	return usage
}

// snapshotNote tells of snapshots, which stay.
func (a *app) snapshotNote(ctx context.Context, name string) string {
	ctx, cancel := a.limit(ctx)
	defer cancel()
	snapshots, err := a.client.Snapshots(ctx, name)
	if err != nil || len(snapshots) == 0 {
		return ""
	}
	if len(snapshots) == 1 {
		return "its snapshot stays"
	}
	return fmt.Sprintf("its %d snapshots stay", len(snapshots))
}

// lossesOfClean tells which images go. Those that machines run from stay.
func (a *app) lossesOfClean(ctx context.Context) (losses []loss, err error) {
	if !a.asks() && !a.dryRun {
		return nil, nil
	}
	ours, err := a.isMachd(ctx)
	if err != nil {
		return nil, err
	}
	images, err := limited(ctx, a, a.client.Images)
	if err != nil {
		return nil, err
	}
	images = slices.DeleteFunc(images, func(i client.Image) bool {
		_, _, snapshot := machd.CutSnapshot(i.Name)
		hidden := strings.HasPrefix(i.Name, ".") && !(snapshot && ours)
		return i.Name == machine1.Host || !a.all && !hidden
	})
	rows, err := a.withUsers(ctx, images)
	if err != nil {
		return nil, fmt.Errorf("cannot tell which images are in use: %w", err)
	}
	for _, i := range rows {
		if len(i.machines) > 0 {
			continue
		}
		l := loss{what: "image", name: i.Name, usage: i.Usage}
		if ours && l.usage == client.Unknown {
			l.usage = a.imageUsage(ctx, i.Name)
		}
		losses = append(losses, l)
	}
	return losses, nil
}

// all is a number of things in words.
func all(n int, thing string) string {
	if n == 1 {
		return "this " + thing
	}
	return fmt.Sprintf("these %d %ss", n, thing)
}
