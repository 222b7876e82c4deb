package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/client"
	"github.com/machd/machd/client/internal/tarball"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// stream, as a path of the host, is a tar archive at standard input or output.
const stream = "-"

// streamDir is where archives are unpacked for the daemon to copy: they may be
// big.
const streamDir = "/var/tmp"

// isOfArchive reports whether a copy is to or from an archive.
func isOfArchive(verb string, args []string) bool {
	_, source, destination := threeOf(args)
	return verb == "copy-to" && source == stream || verb == "copy-from" && destination == stream
}

// checkArchive refuses archives that cannot be.
func checkArchive(verb string, args []string) error {
	_, source, destination := threeOf(args)
	switch to := verb == "copy-to"; {
	case to && destination == stream:
		return usagef("copy-to: a tar archive needs a PATH in the machine to go to")
	case to && isTerminal(os.Stdin):
		return usagef(`copy-to: "-" is a tar archive at standard input, and that is a terminal`)
	case !to && source == stream:
		return usagef("copy-from: a tar archive needs a PATH in the machine to be made of")
	case !to && isTerminal(os.Stdout):
		return usagef(`copy-from: "-" is a tar archive at standard output, and that is a terminal`)
	}
	return nil
}

// copyStreamTo copies what a tar archive has into a machine. It is unpacked
// first, so that nothing is copied of one that is not whole.
func (a *app) copyStreamTo(ctx context.Context, name, destination string) error {
	return a.withStreamDir(ctx, name, func(ctx context.Context, dir string) error {
		source, err := tarball.Unpack(ctx, os.Stdin, dir)
		if err != nil {
			return fmt.Errorf("cannot read the tar archive at standard input: %w", err)
		}
		err = a.copyFileTo(ctx, name, a.copying(source, destination))
		// What it says of is a name that nobody knows.
		if inner := errors.Unwrap(err); inner != nil {
			return fmt.Errorf("cannot copy to %s in %q: %w", destination, name, inner)
		}
		return err
	})
}

// copyStreamFrom writes files of a machine as a tar archive.
func (a *app) copyStreamFrom(ctx context.Context, name, source string) error {
	if os.Geteuid() != 0 {
		// The copies would be files of root's, which are not ours to read or remove.
		return machine1.Errorf(machine1.ErrAccessDenied, "only root makes a tar archive of files of a machine")
	}
	return a.withStreamDir(ctx, name, func(ctx context.Context, dir string) error {
		// If it is a file, that is the archive's only member.
		made := filepath.Join(dir, memberName(source))
		if err := a.client.CopyFrom(ctx, name, a.copying(source, made)); err != nil {
			return err
		}
		if err := tarball.Pack(ctx, made, os.Stdout); err != nil {
			return fmt.Errorf("cannot write a tar archive of %s: %w", source, err)
		}
		return nil
	})
}

// memberName is what the copy of a file is called.
func memberName(source string) string {
	if base := path.Base(source); base != "/" && base != "." && base != ".." {
		return base
	}
	return "copy" // of what no daemon copies
}

// withStreamDir has a directory for files on their way, and the daemon at hand.
// What would fail is to fail before anything is read.
func (a *app) withStreamDir(ctx context.Context, name string, do func(ctx context.Context, dir string) error) error {
	if err := a.actOn(ctx, name, machd.ActionCopy); err != nil {
		return err
	}
	if _, err := limited(ctx, a, func(ctx context.Context) (client.Machine, error) { return a.client.Machine(ctx, name) }); err != nil {
		return err
	}
	return withTempDir(ctx, streamDir, ".machctl-*", do)
}

// endLimit is how long what writes to a directory on its way may take to end after
// a signal. It may be waiting for input that does not come.
const endLimit = time.Second

// withTempDir has an empty directory that nobody else can look into, until do
// returns or a signal ends us, and the context of do first.
func withTempDir(ctx context.Context, where, pattern string, do func(ctx context.Context, dir string) error) error {
	outer, err := os.MkdirTemp(where, pattern)
	if err != nil {
		return fmt.Errorf("cannot make room for the files: %w", err)
	}
	// An archive says who may look into the inner one.
	inner := filepath.Join(outer, "files")
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	signals := takeSignals()
	ended := make(chan error, 1)
	go func() { ended <- join(os.Mkdir(inner, 0o755), do(ctx, inner)) }()
	select {
	case err = <-ended:
	case s := <-signals:
		err = signalError(s)
		cancel()
		select {
		case <-ended:
		case <-time.After(endLimit):
		}
	}
	return join(err, removeTemp(outer))
}

// removeTemp removes a directory that somebody may still write to, as the daemon
// does. Once it is gone he cannot.
func removeTemp(dir string) (err error) {
	const tries = 5
	for range tries {
		if err = os.RemoveAll(dir); !errors.Is(err, unix.ENOTEMPTY) {
			return err
		}
	}
	return err
}

// signalError is the end by a signal.
func signalError(s os.Signal) error {
	number, _ := s.(unix.Signal)
	return statusError(exitSignal + int(number))
}
