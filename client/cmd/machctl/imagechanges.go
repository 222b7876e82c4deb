package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/client"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/pkg/nspawnfile"
)

// clone makes a copy of an image. It takes as long as it takes.
func (a *app) clone(ctx context.Context, args []string) error {
	if err := a.actOnImages(ctx, args); err != nil {
		return err
	}
	err := a.showing(ctx, "clone "+args[0], func(ctx context.Context) error {
		return a.client.CloneImage(ctx, args[0], args[1], a.readOnly)
	})
	return nameTaken(err, args[1])
}

// rename gives an image another name.
func (a *app) rename(ctx context.Context, args []string) error {
	if err := a.actOnImages(ctx, args); err != nil {
		return err
	}
	ctx, cancel := a.limit(ctx)
	defer cancel()
	err := a.client.RenameImage(ctx, args[0], args[1])
	if err == nil {
		a.tellUnitFiles(args[0], fmt.Sprintf(", which is still for %q", args[0]))
		return nil
	}
	if !a.stock {
		err = &saidTwice{err, "Failed to rename image: "}
		if there, lookErr := a.hasImage(ctx, args[1]); lookErr == nil && !there {
			return err // the name is free: what is in the way is told
		}
	}
	return nameTaken(err, args[1])
}

// tellUnitFiles tells which files of the unit of a machine are left here.
func (a *app) tellUnitFiles(name, note string) {
	if a.user || a.elsewhere() {
		return
	}
	for _, file := range client.UnitFiles(name) {
		if file.Enables {
			a.ui.notice(fmt.Sprintf(`kept %s%s; "machctl disable %s" removes it`, file.Path, note, name))
			continue
		}
		a.ui.notice("kept " + file.Path + note)
	}
}

// nameTaken adds the way out where the name of an image to be is another's.
func nameTaken(err error, name string) error {
	if errors.Is(err, unix.EEXIST) {
		return &hintedError{err, fmt.Sprintf(`take another name, or "machctl remove %s" first`, name)}
	}
	return err
}

// A saidTwice error has words of the daemon's, for stock clients, that its own text
// says as well.
type saidTwice struct {
	error
	words string
}

func (e *saidTwice) Error() string { return strings.Replace(e.error.Error(), e.words, "", 1) }
func (e *saidTwice) Unwrap() error { return e.error }

// setReadOnly makes an image read-only, or writable.
func (a *app) setReadOnly(ctx context.Context, args []string) error {
	readOnly := true
	if len(args) == 2 {
		var err error
		if readOnly, err = parseBool(args[1]); err != nil {
			return err
		}
	}
	if err := a.actOnImages(ctx, args[:1]); err != nil {
		return err
	}
	ctx, cancel := a.limit(ctx)
	defer cancel()
	return a.client.SetImageReadOnly(ctx, args[0], readOnly)
}

// setLimit limits one image, or all together.
func (a *app) setLimit(ctx context.Context, args []string) error {
	bytes, err := a.sizeLimit(args[len(args)-1])
	if err != nil {
		return err
	}
	if len(args) == 1 {
		if err := a.connectToAct(ctx, machine1.ActionManageMachines); err != nil {
			return err
		}
		ctx, cancel := a.limit(ctx)
		defer cancel()
		return a.client.SetPoolLimit(ctx, bytes)
	}
	if err := a.actOnImages(ctx, args[:1]); err != nil {
		return err
	}
	ctx, cancel := a.limit(ctx)
	defer cancel()
	return a.client.SetImageLimit(ctx, args[0], bytes)
}

// sizeLimit reads a limit, called machinectl in all ways that it does.
func (a *app) sizeLimit(text string) (uint64, error) {
	if !a.stock || noLimit[text] {
		return parseSize(text)
	}
	bytes, err := stockSize(text)
	return bytes, stocked(err, "Failed to parse size: %s", text)
}

// remove removes images. What an administrator wrote about one stays, unless
// he says otherwise; under the name machinectl it goes, as it always did.
func (a *app) remove(ctx context.Context, names []string) error {
	if err := a.actOnImages(ctx, names); err != nil {
		return err
	}
	if losses, err := a.lossesOf(ctx, names); err != nil {
		return err
	} else if done, err := a.mayLose("Remove "+all(len(names), "image")+"?", losses); done || err != nil {
		return err
	}
	if a.withSettings || a.stock {
		return a.inOrder(names, func(name string) error {
			err := a.removeImage(ctx, name, a.client.RemoveImage)
			if err == nil {
				a.tellUnitFiles(name, "")
			}
			return err
		})
	}
	keeps, err := a.isMachd(ctx)
	if err != nil {
		return fmt.Errorf("cannot remove images: %w", err)
	}
	if keeps {
		a.action = machd.ActionManageImages
	}
	return each(names, func(name string) error { return a.removeKeeping(ctx, name, keeps) })
}

// removeKeeping removes an image, if keeps says that the daemon can do so
// without its settings.
func (a *app) removeKeeping(ctx context.Context, name string, keeps bool) error {
	settings, there := a.settingsOf(name)
	switch {
	case keeps:
		err := a.removeImage(ctx, name, a.client.RemoveImageKeepingSettings)
		if _, left := a.settingsOf(name); err == nil && left {
			a.ui.notice("kept " + settings)
		}
		if err == nil {
			a.tellUnitFiles(name, "")
		}
		return err
	case a.elsewhere():
		settings = "its settings there, if it has any,"
	case !there:
		return a.removeImage(ctx, name, a.client.RemoveImage)
	}
	return &hintedError{
		fmt.Errorf("cannot remove image %q: systemd-machined would remove %s with it", name, settings),
		"--with-settings removes both",
	}
}

// settingsOf returns where its administrator keeps the settings of a machine, and
// whether there are any, as far as that can be seen from here.
func (a *app) settingsOf(name string) (path string, there bool) {
	dir := client.SettingsDir
	if config, err := os.UserConfigDir(); a.user && err == nil {
		dir = filepath.Join(config, "systemd/nspawn")
	}
	path = filepath.Join(dir, name+".nspawn")
	if a.elsewhere() {
		return path, false // the file of here is about another machine
	}
	_, err := os.Lstat(path)
	return path, err == nil
}

// removeImage removes an image by one of the client's calls.
func (a *app) removeImage(ctx context.Context, name string, remove func(ctx context.Context, name string) error) error {
	return a.showing(ctx, "remove "+name, func(ctx context.Context) error { return remove(ctx, name) })
}

// clean removes hidden images, or all.
//
// Reference: machinectl.c, verb_clean_images: its words are looked for.
func (a *app) clean(ctx context.Context, _ []string) error {
	if err := a.connectToAct(ctx, machine1.ActionManageMachines); err != nil {
		return err
	}
	if losses, err := a.lossesOfClean(ctx); err != nil {
		return err
	} else if done, err := a.mayLose("Remove "+all(len(losses), "image")+"?", losses); done || err != nil {
		return err
	}
	var removed []client.RemovedImage
	err := a.showing(ctx, "clean", func(ctx context.Context) (err error) {
		removed, err = a.client.CleanPool(ctx, a.all)
		return err
	})
	if err != nil {
		return err
	}
	total := uint64(0)
	for _, image := range removed {
		if image.Freed == client.Unknown {
			total = client.Unknown
			a.ui.always(fmt.Sprintf("Removed image '%s'", image.Name))
			continue
		}
		if total != client.Unknown {
			total += image.Freed
		}
		a.ui.always(fmt.Sprintf("Removed image '%s'. Freed exclusive disk space: %s", image.Name, size(image.Freed)))
	}
	if total == client.Unknown {
		a.ui.always(fmt.Sprintf("Removed %d images in total.", len(removed)))
		return nil
	}
	a.ui.always(fmt.Sprintf("Removed %d images in total. Total freed exclusive disk space: %s.", len(removed), size(total)))
	return nil
}

func (a *app) actOnImages(ctx context.Context, names []string) error {
	err := each(names, func(name string) error {
		if a.stock || machine1.ValidImageName(name) {
			return nil
		}
		return usagef("%q cannot be an image's name", name)
	})
	if err != nil {
		return err
	}
	return a.connectToAct(ctx, machine1.ActionManageImages)
}

// parseBool knows the words that systemd's commands take.
func parseBool(text string) (bool, error) {
	value, err := nspawnfile.ParseBool(text)
	if err != nil {
		return false, stocked(usagef("%v", err), "Failed to parse boolean argument: %s", text)
	}
	return value, nil
}

// noLimit are sizes that are not limited.
var noLimit = setOf("- none infinity")

// parseSize reads a number of bytes, in units of 1024 if it says so.
func parseSize(text string) (uint64, error) {
	if noLimit[text] {
		return client.Unknown, nil
	}
	number, unit := text, uint64(1)
	if i := strings.IndexAny(text, "BKMGTPE"); i >= 0 && i == len(text)-1 {
		number = text[:i]
		unit <<= 10 * strings.IndexByte("BKMGTPE", text[i])
	}
	bytes, err := strconv.ParseFloat(number, 64)
	if size := bytes * float64(unit); err == nil && size >= 0 && size < 1<<63 {
		return uint64(size), nil
	}
	return 0, stocked(usagef("%q is no size: a number with K, M, G, T, P or E behind it, or none for no limit", text), "Failed to parse size: %s", text)
}
