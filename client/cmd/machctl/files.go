package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/client"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// bind shows a directory or file of the host in a machine.
func (a *app) bind(ctx context.Context, args []string) error {
	name, source, destination := threeOf(args)
	if err := a.actOn(ctx, name, a.actionAs(machd.ActionBind)); err != nil {
		return err
	}
	ctx, cancel := a.limit(ctx)
	defer cancel()
	return a.client.Bind(ctx, name, client.Bind{
		Source: source, Destination: destination, ReadOnly: a.readOnly, MakeDir: a.mkdir, Stock: a.stock,
	})
}

// unbind takes it away again.
func (a *app) unbind(ctx context.Context, args []string) error {
	if err := a.actOn(ctx, args[0], machd.ActionBind); err != nil {
		return err
	}
	ctx, cancel := a.limit(ctx)
	defer cancel()
	return a.client.Unbind(ctx, args[0], args[1])
}

// copyTo copies from the host into a machine. Copies take as long as they
// take, so there is no limit.
func (a *app) copyTo(ctx context.Context, args []string) error {
	name, source, destination := threeOf(args)
	if source == stream && !a.stock {
		return a.copyStreamTo(ctx, name, destination)
	}
	source, err := fromHere(source)
	if err != nil {
		return err
	}
	if err := a.actOn(ctx, name, a.actionAs(machd.ActionCopy)); err != nil {
		return err
	}
	return a.showing(ctx, "copy "+source, func(ctx context.Context) error {
		return a.filesOfThere(name, source, destination, a.copyFileTo(ctx, name, a.copying(source, destination)))
	})
}

// filesOfThere says of a file that is not in the machine that is spoken of, but
// here, how it gets where it is meant to go.
func (a *app) filesOfThere(name, source, destination string, err error) error {
	if !a.elsewhere() || !errors.Is(err, machine1.ErrFileNotFound) {
		return err
	}
	if _, statErr := os.Lstat(source); statErr != nil {
		return err
	}
	what := "."
	dir := source
	if info, statErr := os.Stat(source); statErr == nil && !info.IsDir() {
		dir, what = filepath.Split(source)
	}
	return &hintedError{err, fmt.Sprintf(`with --machine, files are those of %q; "tar -C %s -c %s | machctl -M %s copy-to %s - %s" sends this host's`,
		a.machine.Name, quote(dir), quote(what), a.machine, name, quote(destination))}
}

// copyFrom copies from a machine to the host.
func (a *app) copyFrom(ctx context.Context, args []string) error {
	name, source, destination := threeOf(args)
	if destination == stream && !a.stock {
		return a.copyStreamFrom(ctx, name, source)
	}
	destination, err := fromHere(destination)
	if err != nil {
		return err
	}
	if err := a.actOn(ctx, name, a.actionAs(machd.ActionCopy)); err != nil {
		return err
	}
	return a.showing(ctx, "copy "+source, func(ctx context.Context) error {
		return a.copyFileFrom(ctx, name, a.copying(source, destination))
	})
}

// copyFileTo copies into a machine, and a file into a directory that is there, as
// cp does. The daemons take a destination for the very path.
func (a *app) copyFileTo(ctx context.Context, name string, x client.Copy) error {
	isFile := false // as far as can be told
	if info, err := os.Lstat(x.Source); err == nil && !a.elsewhere() {
		isFile = !info.IsDir()
	}
	switch {
	case a.stock || !isFile:
	case strings.HasSuffix(x.Destination, "/"):
		return a.client.CopyTo(ctx, name, into(x))
	case x.Replace: // but no link that leads to a directory
		if err := a.client.CopyTo(ctx, name, into(x)); !isNoDirectory(err) {
			return err
		}
	}
	return a.copyInto(ctx, a.client.CopyTo, name, x, x)
}

// copyFileFrom copies from a machine likewise.
func (a *app) copyFileFrom(ctx context.Context, name string, x client.Copy) error {
	first := x
	if leadsToDirectory(x.Destination) && !a.elsewhere() && !a.stock {
		first.Replace = false
	}
	return a.copyInto(ctx, a.client.CopyFrom, name, first, x)
}

// copyInto makes a copy, and if the name is taken, one into what has it. That is
// said to be taken of files only: directories are merged, or do not fit.
func (a *app) copyInto(ctx context.Context, do func(context.Context, string, client.Copy) error, name string, first, x client.Copy) error {
	err := do(ctx, name, first)
	if a.stock || !errors.Is(err, unix.EEXIST) {
		return err
	}
	if inner := do(ctx, name, into(x)); !isNoDirectory(inner) {
		return inner
	}
	return err
}

// into is the copy of a file into the directory that is its destination.
func into(x client.Copy) client.Copy {
	x.Destination = path.Join(x.Destination, path.Base(x.Source))
	return x
}

// isNoDirectory reports whether a copy failed for there is no directory to copy
// into.
func isNoDirectory(err error) bool {
	return errors.Is(err, unix.ENOTDIR) || errors.Is(err, machine1.ErrFileNotFound) || errors.Is(err, unix.ELOOP)
}

// leadsToDirectory reports whether a path of the host is a link to a directory.
func leadsToDirectory(name string) bool {
	itself, err := os.Lstat(name)
	if err != nil || itself.IsDir() {
		return false
	}
	there, err := os.Stat(name)
	return err == nil && there.IsDir()
}

func (a *app) copying(source, destination string) client.Copy {
	// Under the name machinectl everything is as it always was.
	return client.Copy{Source: source, Destination: destination, Replace: a.force, Flat: a.flat, Stock: a.stock}
}

// actionAs is the polkit action of what is done by a stock method under the name
// machinectl, where rules of before count.
func (a *app) actionAs(action string) string {
	if a.stock {
		return machine1.ActionManageMachines
	}
	return action
}

func (a *app) actOn(ctx context.Context, name, action string) error {
	if err := a.checkLookups(name); err != nil {
		return err
	}
	return a.connectToAct(ctx, action)
}

// threeOf returns a machine's name and two paths, the second of which may be
// left out: then it is the first one.
func threeOf(args []string) (name, source, destination string) {
	if len(args) == 2 {
		return args[0], args[1], args[1]
	}
	return args[0], args[1], args[2]
}

// fromHere makes a path of the host absolute: the daemon works elsewhere.
func fromHere(path string) (string, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("cannot tell where %q is: %w", path, err)
	}
	return absolute, nil
}
