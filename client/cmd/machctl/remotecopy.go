package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/machd/machd/client/internal/tarball"
)

// copyByHost copies between files of this host and a machine of another one:
// machctl there makes or takes a tar archive.
func (a *app) copyByHost(cmd *cobra.Command, args []string) error {
	name, source, destination := threeOf(args)
	if cmd.Name() == "copy-to" {
		return a.copyToHost(cmd, name, source, destination)
	}
	return a.copyFromHost(cmd, name, source, destination)
}

func (a *app) copyToHost(cmd *cobra.Command, name, source, destination string) error {
	info, err := os.Lstat(source)
	if err != nil {
		return fmt.Errorf("cannot copy: %w", err)
	}
	packed, err := tarball.Read(cmd.Context(), source)
	if err != nil {
		return fmt.Errorf("cannot copy %s: %w", source, err)
	}
	defer packed.Close()
	far := farCommand{verb: cmd.Name(), words: a.farWords(cmd, cmd.Name(), []string{name, stream, destination})}
	if a.standInsHelp() {
		file := "f"
		if !info.IsDir() {
			file = filepath.Join(file, filepath.Base(source))
		}
		far.instead = stockCopy(stockCopyTo, a.force, name, file, destination)
	}
	return a.runRelayed(far, packed, os.Stdout)
}

// copyFromHost unpacks beside the destination, and puts in place what is whole.
func (a *app) copyFromHost(cmd *cobra.Command, name, source, destination string) error {
	destination, err := fromHere(destination)
	if err != nil {
		return err
	}
	there, err := os.Lstat(destination)
	isDir := err == nil && there.IsDir() || leadsToDirectory(destination)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("cannot copy to %s: %w", destination, err)
	case err == nil && !isDir && !a.force:
		return fmt.Errorf("cannot copy: %s is there already: %w", destination, syscall.EEXIST)
	}
	far := farCommand{verb: cmd.Name(), words: a.farWords(cmd, cmd.Name(), []string{name, source, stream})}
	if a.standInsHelp() {
		far.instead = stockCopy(stockCopyFrom, false, name, source)
	}
	where := filepath.Dir(destination)
	if isDir {
		where = destination // it may be another file system
	}
	return withTempDir(cmd.Context(), where, ".#machctl-copy-*", func(ctx context.Context, dir string) error {
		made, err := a.receive(ctx, far, dir)
		if err != nil {
			return err
		}
		if isDir && made != dir {
			destination = filepath.Join(destination, memberName(source))
		}
		if err := tarball.Place(made, destination, a.force); err != nil {
			return fmt.Errorf("cannot copy %s: %w", source, err)
		}
		return nil
	})
}

// receive unpacks what a command on the other host writes.
func (a *app) receive(ctx context.Context, far farCommand, dir string) (made string, err error) {
	r, w := io.Pipe()
	relayed := make(chan error, 1)
	go func() {
		err := a.runRelayed(far, nil, w)
		w.CloseWithError(err)
		relayed <- err
	}()
	made, err = tarball.Unpack(ctx, r, dir)
	if err != nil {
		err = fmt.Errorf("cannot unpack what %s sends: %w", a.host, err)
	}
	r.CloseWithError(err)
	// What went wrong there first makes an archive without an end.
	if relayErr := <-relayed; relayErr != nil && !errors.Is(relayErr, err) {
		return "", relayErr
	}
	return made, err
}

// stockCopy is a copy by machinectl, which has a directory of its own for the
// files on their way. Its arguments are options of machinectl, and those of the
// script.
func stockCopy(script string, force bool, args ...string) *standIn {
	option := "--no-pager" // which means nothing
	if force {
		option = "--force"
	}
	line := append([]string{"sh", "-euc", script, "machctl", option}, args...)
	return &standIn{line, "machinectl", "in a machine with users of its own all files become root's"}
}

const (
	stockCopyDir = `d=$(mktemp -d /var/tmp/.machctl-XXXXXX); trap 'rm -rf "$d"' EXIT; trap 'exit 129' HUP; trap 'exit 143' TERM; `
	stockCopyTo  = stockCopyDir + `mkdir "$d/f"; tar --extract --preserve-permissions --numeric-owner --directory="$d/f" --file=-; ` +
		`machinectl "$1" copy-to "$2" "$d/$3" "$4" 2>"$d/says" || { ` + // then a file may go into a directory
		`test "$3" != f && machinectl "$1" copy-to "$2" "$d/$3" "${4%/}/${3#f/}" 2>"$d/inner"; } || { cat "$d/says" >&2; exit 1; }`
	stockCopyFrom = stockCopyDir + `machinectl "$1" copy-from "$2" "$3" "$d/f" >&2; ` +
		`if test -d "$d/f" && ! test -h "$d/f"; then tar --create --format=posix --sparse --numeric-owner --directory="$d/f" --file=- .; ` +
		`else tar --create --format=posix --sparse --numeric-owner --directory="$d" --file=- f; fi`
)
