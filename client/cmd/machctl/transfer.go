package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/client"
	"github.com/machd/machd/pkg/machine1"
)

// A transfer is one that the command line asks for.
type transfer struct {
	verb   string // in the words of a notice: "pulling"
	past   string // "pulled"
	from   string // where it comes from, or the image
	to     string // the image, or where it goes to
	image  string // its name
	action string // polkit's
	begin  func(ctx context.Context) (*client.Transfer, error)
}

// pullTar downloads a tar archive and makes an image of it.
func (a *app) pullTar(ctx context.Context, args []string) error {
	return a.pull(ctx, args, tarArchive, (*client.Client).PullTar)
}

// pullRaw downloads the image of a disk.
func (a *app) pullRaw(ctx context.Context, args []string) error {
	return a.pull(ctx, args, rawArchive, (*client.Client).PullRaw)
}

type pullCall func(c *client.Client, ctx context.Context, from, name string, o client.PullOptions) (*client.Transfer, error)

func (a *app) pull(ctx context.Context, args []string, kind archive, call pullCall) error {
	u, err := checkURL(args[0])
	if err != nil {
		return err
	}
	given := argument(args, 1)
	if given == "-" {
		return a.pullAs(ctx, args[0], "", call)
	}
	name, err := kind.imageName(given, u.Path)
	if err != nil {
		return err
	}
	return a.pullAs(ctx, args[0], name, call)
}

// pullOCI downloads a container image from a registry.
func (a *app) pullOCI(ctx context.Context, args []string) error {
	last, err := checkReference(args[0])
	if err != nil {
		return err
	}
	name, err := noArchive.imageName(dashless(argument(args, 1)), last)
	if err != nil {
		return err
	}
	return a.pullAs(ctx, args[0], name, (*client.Client).PullOCI)
}

func (a *app) pullAs(ctx context.Context, from, name string, call pullCall) error {
	options := client.PullOptions{
		Class: a.imageClass(), Verify: client.Verification(a.verify.value), Force: a.force, ReadOnly: a.readOnly, KeepDownload: a.keepsDownload(),
	}
	return a.transfer(ctx, transfer{
		verb: "pulling", past: "pulled", from: from, to: name, image: name, action: client.ActionPull,
		begin: func(ctx context.Context) (*client.Transfer, error) { return call(a.client, ctx, from, name, options) },
	})
}

// importTar makes an image of a tar archive.
func (a *app) importTar(ctx context.Context, args []string) error {
	return a.importFile(ctx, args, tarArchive, (*client.Client).ImportTar)
}

// importRaw makes an image of a disk's.
func (a *app) importRaw(ctx context.Context, args []string) error {
	return a.importFile(ctx, args, rawArchive, (*client.Client).ImportRaw)
}

// importFS makes an image of a directory.
func (a *app) importFS(ctx context.Context, args []string) error {
	return a.importFile(ctx, args, noArchive, (*client.Client).ImportFS)
}

type importCall func(c *client.Client, ctx context.Context, file *os.File, name string, o client.ImportOptions) (*client.Transfer, error)

// importFile imports a file, or what comes by standard input.
func (a *app) importFile(ctx context.Context, args []string, kind archive, call importCall) error {
	from, given := dashless(args[0]), dashless(argument(args, 1))
	if from == "" && given == "" {
		return usagef("what comes by standard input has no name, so give a NAME")
	}
	if from == "" && isTerminal(os.Stdin) {
		return usagef("standard input is a terminal: an image comes from a file or a pipe")
	}
	name, err := kind.imageName(given, from)
	if err != nil {
		return err
	}
	file, err := openSource(from)
	if err != nil {
		return err
	}
	defer file.Close()
	options := client.ImportOptions{Class: a.imageClass(), Force: a.force, ReadOnly: a.readOnly}
	return a.transfer(ctx, transfer{
		verb: "importing", past: "imported", from: file.Name(), to: name, image: name, action: client.ActionImport,
		begin: func(ctx context.Context) (*client.Transfer, error) { return call(a.client, ctx, file, name, options) },
	})
}

// openSource opens what is imported. "" is standard input.
func openSource(path string) (*os.File, error) {
	if path == "" {
		return os.NewFile(0, "standard input"), nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot import %s: %w", path, bare(err))
	}
	return file, nil
}

// exportTar writes an image as a tar archive.
func (a *app) exportTar(ctx context.Context, args []string) error {
	return a.export(ctx, args, (*client.Client).ExportTar)
}

// exportRaw writes the image of a disk.
func (a *app) exportRaw(ctx context.Context, args []string) error {
	return a.export(ctx, args, (*client.Client).ExportRaw)
}

type exportCall func(c *client.Client, ctx context.Context, name string, file *os.File, o client.ExportOptions) (*client.Transfer, error)

func (a *app) export(ctx context.Context, args []string, call exportCall) error {
	name, to := args[0], dashless(argument(args, 1))
	if !machine1.ValidImageName(name) {
		return usagef("%q cannot be an image's name", name)
	}
	format, err := compression(a.format, to)
	if err != nil {
		return err
	}
	if to == "" && isTerminal(os.Stdout) {
		return &hintedError{usagef("standard output is a terminal: an image goes to a file or a pipe"), "name a FILE behind the image"}
	}
	var out *target
	options := client.ExportOptions{Class: a.imageClass(), Format: format}
	err = a.transfer(ctx, transfer{
		verb: "exporting", past: "exported", from: name, to: to, image: name, action: client.ActionExport,
		begin: func(ctx context.Context) (*client.Transfer, error) {
			// The file is emptied when it is opened: not for an image that is not there.
			if options.Class == client.ClassMachine {
				if there, err := a.client.HasImage(ctx, name); err == nil && !there {
					return nil, fmt.Errorf("cannot export %q: %w", name, machine1.ErrNoSuchImage)
				}
			}
			if out, err = openTarget(to); err != nil {
				return nil, err
			}
			return call(a.client, ctx, name, out.file, options)
		},
	})
	return errors.Join(err, out.close(err))
}

// compression returns how an export to a file is packed, by what is asked for,
// else by the file's name.
//
// Reference: importctl.c, determine_compression_from_filename.
func compression(asked, file string) (client.Compression, error) {
	formats := []struct {
		suffix string
		format client.Compression
	}{
		{".xz", client.Xz}, {".gz", client.Gzip}, {".bz2", client.Bzip2}, {".zst", client.Zstd}, {"", client.Uncompressed},
	}
	names := make([]string, len(formats))
	for i, row := range formats {
		if asked == string(row.format) || asked == "" && strings.HasSuffix(file, row.suffix) {
			return row.format, nil
		}
		names[i] = string(row.format)
	}
	return "", usagef("--format: an export is not packed as %q, only as %s", asked, strings.Join(names, ", "))
}

// A target is a file that an image is exported to.
type target struct {
	file *os.File
	ours bool // it was not there before
}

// openTarget opens where an image is to go to, and makes it empty. "" is
// standard output.
func openTarget(path string) (*target, error) {
	if path == "" {
		return &target{file: os.NewFile(1, "standard output")}, nil
	}
	flags := os.O_WRONLY | unix.O_NOCTTY
	file, err := os.OpenFile(path, flags|os.O_CREATE|os.O_EXCL, 0o666)
	if err == nil {
		return &target{file, true}, nil
	}
	if errors.Is(err, os.ErrExist) {
		file, err = os.OpenFile(path, flags|os.O_TRUNC, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot export to %s: %w", path, bare(err))
	}
	return &target{file: file}, nil
}

// close closes the file, and removes one that we have made for nothing.
func (t *target) close(failed error) error {
	if t == nil {
		return nil
	}
	var left *leftError
	if failed != nil && t.ours && !errors.As(failed, &left) {
		_ = os.Remove(t.file.Name())
	}
	if err := t.file.Close(); err != nil {
		return fmt.Errorf("cannot export: %w", err)
	}
	return nil
}

// bare is the error of an operation on a file without its name.
func bare(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// argument returns the argument of that number, "" if there is none.
func argument(args []string, i int) string {
	if i < len(args) {
		return args[i]
	}
	return ""
}

// dashless returns "" for the "-" that stands for nothing or a standard stream.
func dashless(text string) string {
	if text == "-" {
		return ""
	}
	return text
}
