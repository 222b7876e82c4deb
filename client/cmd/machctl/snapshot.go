package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/client"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// snapshot makes, lists, restores and removes snapshots.
func (a *app) snapshot(ctx context.Context, args []string) error {
	what, args := args[0], args[1:]
	most := map[string]int{"create": 2, "list": 1, "restore": 2, "remove": 2}
	least := map[string]int{"create": 1, "list": 0, "restore": 2, "remove": 2}
	limit, known := most[what]
	switch {
	case !known:
		return usagef("snapshot: there is no %q, only create, list, restore and remove", what)
	case len(args) < least[what] || len(args) > limit:
		return usagef("snapshot: it is machctl snapshot %s", map[string]string{
			"create": "create NAME [SNAPSHOT]", "list": "list [NAME]", "restore": "restore NAME SNAPSHOT", "remove": "remove NAME SNAPSHOT",
		}[what])
	case len(args) > 0 && !machine1.ValidImageName(args[0]):
		return usagef("%q cannot be an image's name", args[0])
	case len(args) > 1 && !machd.ValidSnapshotName(args[1]):
		return usagef("%q cannot be a snapshot's name: letters, digits and -_.+: make one", args[1])
	}
	switch what {
	case "create":
		return a.createSnapshot(ctx, args)
	case "list":
		return a.listSnapshots(ctx, args)
	case "restore":
		return a.restoreSnapshot(ctx, args[0], args[1])
	}
	return a.removeSnapshot(ctx, args[0], args[1])
}

func (a *app) createSnapshot(ctx context.Context, args []string) error {
	name, snapshot := args[0], time.Now().Format("20060102-150405")
	if len(args) > 1 {
		snapshot = args[1]
	}
	if err := a.connectToAct(ctx, machd.ActionManageImages); err != nil {
		return err
	}
	runs, err := a.runs(ctx, name)
	if err != nil {
		return err
	}
	err = a.client.CreateSnapshot(ctx, name, snapshot)
	if errors.Is(err, unix.EEXIST) {
		return &hintedError{
			machine1.Errorf(unix.EEXIST, "cannot make a snapshot of image %q: it has a snapshot %q already", name, snapshot),
			fmt.Sprintf(`take another name, or "machctl snapshot remove %s %s" first`, name, snapshot),
		}
	}
	if err != nil {
		return err
	}
	done, err := a.printObjects([]object{{{"image", name}, {"snapshot", snapshot}}})
	if done || err != nil {
		return err
	}
	a.ui.notice(fmt.Sprintf("snapshot %s of %s is made", snapshot, name))
	if runs {
		a.ui.notice(name + " runs: the snapshot is what its disk would be after a crash")
	}
	return nil
}

func (a *app) listSnapshots(ctx context.Context, args []string) error {
	if err := snapshotList().check(a.options); err != nil {
		return err
	}
	if err := a.connect(ctx); err != nil {
		return err
	}
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	ctx, cancel := a.limit(ctx)
	defer cancel()
	snapshots, err := a.client.Snapshots(ctx, name)
	if err != nil {
		return err
	}
	if name != "" && len(snapshots) == 0 { // which an image that is gone may have
		if has, err := a.client.HasImage(ctx, name); err == nil && !has {
			return machine1.Errorf(machine1.ErrNoSuchImage, "there is no image %q, and no snapshot of one", name)
		}
	}
	return printList(a, snapshotList(), snapshots)
}

// snapshotList is what snapshot list tells.
func snapshotList() listing[client.Snapshot] {
	type snapshot = client.Snapshot
	return listing[snapshot]{
		what: "snapshots",
		columns: []column[snapshot]{
			{key: "image", head: "IMAGE", value: func(s snapshot) any { return s.Image }, keep: true},
			{key: "snapshot", head: "SNAPSHOT", value: func(s snapshot) any { return s.Name }, keep: true},
			{key: "created", head: "CREATED", value: func(s snapshot) any { return s.Created }},
			{key: "usage", head: "USAGE", value: func(s snapshot) any { return knownBytes(s.Usage) }, cell: snapshotUsageCell, right: true},
			{key: "kind", head: "KIND", value: func(s snapshot) any { return s.Kind }},
		},
	}
}

func (a *app) restoreSnapshot(ctx context.Context, name, snapshot string) error {
	if err := a.connectToAct(ctx, machd.ActionManageImages); err != nil {
		return err
	}
	kept, err := a.findSnapshot(ctx, name, snapshot)
	if err != nil {
		return err
	}
	was := loss{
		what: "image", name: name, usage: client.Unknown,
		note: fmt.Sprintf("becomes what it was on %s; what it is now is kept as a snapshot", timestamp(kept.Created)),
	}
	if a.asks() || a.dryRun {
		if err := a.noteUsers(ctx, "restore", &was); err != nil {
			return err
		}
	}
	if done, err := a.mayLose("Restore it?", []loss{was}); done || err != nil {
		return err
	}
	before, err := a.client.RestoreSnapshot(ctx, name, snapshot)
	if err != nil {
		return err
	}
	done, err := a.printObjects([]object{{{"image", name}, {"snapshot", snapshot}, {"before", noneIfEmpty(before)}}})
	if done || err != nil {
		return err
	}
	a.ui.notice(fmt.Sprintf("%s is restored to snapshot %s", name, snapshot))
	if before != "" {
		a.ui.notice(fmt.Sprintf(`what it was before is snapshot %s: "machctl snapshot remove %s %s" removes it`, before, name, before))
	}
	return nil
}

func (a *app) removeSnapshot(ctx context.Context, name, snapshot string) error {
	if err := a.connectToAct(ctx, machd.ActionManageImages); err != nil {
		return err
	}
	kept, err := a.findSnapshot(ctx, name, snapshot)
	if err != nil {
		return err
	}
	loss := []loss{{
		what: "snapshot", name: snapshot, usage: kept.Usage, note: fmt.Sprintf("of %s, made on %s", name, timestamp(kept.Created)),
	}}
	if done, err := a.mayLose("Remove it?", loss); done || err != nil {
		return err
	}
	return a.client.RemoveSnapshot(ctx, name, snapshot)
}

// findSnapshot returns a snapshot, or says which there are.
func (a *app) findSnapshot(ctx context.Context, name, snapshot string) (client.Snapshot, error) {
	ctx, cancel := a.limit(ctx)
	defer cancel()
	all, err := a.client.Snapshots(ctx, name)
	if err != nil {
		return client.Snapshot{}, err
	}
	for _, s := range all {
		if s.Name == snapshot {
			return s, nil
		}
	}
	return client.Snapshot{}, &hintedError{
		machine1.Errorf(machine1.ErrNoSuchImage, "there is no snapshot %q of %q", snapshot, name),
		fmt.Sprintf(`"machctl snapshot list %s" shows those that there are`, name),
	}
}

var errKept = errors.New("nothing was done")
