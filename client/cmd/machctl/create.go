package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/client"
	"github.com/machd/machd/client/internal/progress"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// createOptions say what an image is like that is made.
type createOptions struct {
	mirror   string
	packages []string
	sshKeys  []string
	passwordOptions
}

func (o *createOptions) addCreateFlags(f *pflag.FlagSet) {
	f.StringVar(&o.mirror, "mirror", "", "Take packages from this `URL`")
	f.StringSliceVar(&o.packages, "packages", nil, "Install these `PACKAGES` as well, with commas between")
	f.Var(&appended{&o.sshKeys}, "ssh-key", "Let root log in with the public key in `FILE`; may be repeated")
	o.addPasswordFlags(f)
}

// create makes an image.
func (a *app) create(ctx context.Context, args []string) error {
	name := args[0]
	if !machine1.ValidMachineName(name) {
		return usagef("%q cannot be the name of a machine, and so of no image for one", name)
	}
	source, file, err := openImageSource(name, a.launch.From)
	if err != nil {
		return err
	}
	if file != nil {
		defer file.Close()
		if a.host.given {
			return a.noFilesThere(name, file)
		}
	}
	o := client.ImageOptions{
		Mirror: a.mirror, Packages: a.packages, Verify: machd.Verification(a.verify.value), ReadOnly: a.readOnly,
	}
	if o.SSHKeys, err = readKeys(a.sshKeys); err != nil {
		return err
	}
	if a.passwordFile != "" {
		if o.RootPassword, err = a.readPassword("root of " + name); err != nil {
			return err
		}
	}
	if err := a.connectToAct(ctx, machd.ActionManageImages); err != nil {
		return err
	}
	var created client.CreatedImage
	begun := time.Now()
	err = a.withLog(ctx, "making "+name, func(ctx context.Context, line func(string)) error {
		created, err = a.client.CreateImage(ctx, name, source, file, o, line)
		return err
	})
	if err != nil {
		return a.createError(name, err)
	}
	done, err := a.printObjects([]object{createdObject(name, a.launch.From, created)})
	if done || err != nil {
		return err
	}
	took := span(time.Since(begun).Round(time.Millisecond))
	if created.Usage != client.Unknown {
		took = size(created.Usage) + " in " + took
	}
	a.ui.notice(fmt.Sprintf("made %s of %s (%s)", name, a.launch.From, took))
	if created.Note != "" {
		a.ui.notice(created.Note)
	}
	return nil
}

func createdObject(name, source string, i client.CreatedImage) object {
	return object{{"name", name}, {"source", source}, {"usage", knownBytes(i.Usage)}, {"note", noneIfEmpty(i.Note)}}
}

// noFilesThere says how a file of this host becomes an image of another one.
func (a *app) noFilesThere(name string, file *os.File) error {
	path := file.Name()
	verb := "import-tar"
	switch info, err := file.Stat(); {
	case err == nil && info.IsDir():
		verb = "import-fs"
	case slices.Contains([]string{".raw", ".img", ".qcow2"}, filepath.Ext(path)):
		verb = "import-raw"
	}
	return &hintedError{
		machine1.Errorf(machine1.ErrNotSupported, "cannot make image %q: create takes no files of this host to %s", name, a.host),
		fmt.Sprintf(`"machctl %s %s %s" does, and "machctl passwd %s" lets somebody in`, verb, quote(path), name, name),
	}
}

func noneIfEmpty(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// withLog does something that tells what goes on in lines, and takes its time.
// Whoever ends us calls it off.
func (a *app) withLog(ctx context.Context, title string, do func(ctx context.Context, line func(string)) error) error {
	bar := a.startProgress(title, time.Second, func() progress.State { return progress.Nothing })
	line := func(line string) {
		switch line = printable(line); {
		case bar != nil:
			bar.Log(line)
		default:
			a.ui.say(line)
		}
	}
	return calledOff(ctx, func(ctx context.Context) error { return do(ctx, line) }, bar.End)
}

// createError adds the way out. The end of the log, which the daemon's error has,
// is not told a second time.
func (a *app) createError(name string, err error) error {
	said := err.Error()
	if !a.quiet {
		err = shownError{err}
	}
	switch {
	case errors.Is(err, unix.EEXIST):
		return &hintedError{err, fmt.Sprintf(`"machctl remove %s" removes it`, name)}
	case errors.Is(err, machine1.ErrInvalidArgs):
		return &hintedError{err, `"machctl help create" shows what images can be made of`}
	}
	if hint := checkHint(err.Error(), !a.elsewhere()); hint != "" {
		return &hintedError{err, hint}
	}
	if !errors.Is(err, unix.ENOSPC) && cannotWrite(said) {
		return &hintedError{err, fullPerhaps}
	}
	return err
}

// A shownError is one whose lines, but for the first, have been shown.
type shownError struct{ error }

func (e shownError) Error() string {
	first, _, _ := strings.Cut(e.error.Error(), "\n")
	return first
}

func (e shownError) Unwrap() error { return e.error }

// openImageSource understands --from. What is a path is opened here: the daemon reads
// what its caller may read.
func openImageSource(name, text string) (source string, file *os.File, err error) {
	if text == "" {
		return "", nil, usagef("create: --from says what to make it of, such as --from debian:13")
	}
	path, isFile := strings.CutPrefix(text, "file://")
	if _, err := machd.ParseSource(text); err == nil && text != machd.SourceGiven && !isFile {
		return text, nil, nil
	}
	_, statErr := os.Stat(path)
	switch {
	case isFile, strings.Contains(path, "/"), statErr == nil:
	case machine1.ValidImageName(text) && !strings.Contains(text, ":"):
		return machd.Source{Kind: machd.SourceMachine, Name: text}.String(), nil, nil
	default:
		return "", nil, usagef("--from: %q is nothing that an image can be made of: debian:VERSION, ubuntu:VERSION, fedora:VERSION, "+
			"centos-stream:VERSION, oci:REFERENCE, machine:NAME, a URL, a directory or a file", text)
	}
	file, err = os.Open(path)
	if err != nil {
		return "", nil, unreadable(fmt.Sprintf("cannot make image %q: --from", name), path, err)
	}
	return machd.SourceGiven, file, nil
}

// unreadable says why a file cannot be read, which an option names.
func unreadable(option, path string, err error) error {
	err = fmt.Errorf("%s: %w", option, err)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		dir, _ := os.Getwd()
		return &hintedError{err, fmt.Sprintf("give the path of what there is: one without / in front begins in %s", dir)}
	case errors.Is(err, fs.ErrPermission):
		return &hintedError{err, "run it as root, or as who may read " + path}
	}
	return err
}

// readKeys reads files of public keys.
func readKeys(paths []string) (keys []string, err error) {
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, unreadable("--ssh-key", path, err)
		}
		if strings.Contains(string(text), "PRIVATE KEY") {
			return nil, usagef("--ssh-key: %s is a private key, which nobody else should have: the public one is %s.pub", path, path)
		}
		before := len(keys)
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				keys = append(keys, line)
			}
		}
		if len(keys) == before {
			return nil, usagef("--ssh-key: there is no key in %s", path)
		}
	}
	return keys, nil
}

// passwordOptions say where a password comes from.
type passwordOptions struct {
	passwordFile   string
	passwordOption string // that it was given with
	lockAccount    bool
}

// A passwordFlag is one of the options that say where a password is.
type passwordFlag struct {
	name string
	of   *passwordOptions
}

func (f passwordFlag) String() string { return "" }
func (f passwordFlag) Type() string   { return "string" }

func (f passwordFlag) Set(path string) error {
	f.of.passwordFile, f.of.passwordOption = path, "--"+f.name
	return nil
}

func (o *passwordOptions) addPasswordFlags(f *pflag.FlagSet) {
	add := func(name, usage string) { f.Var(passwordFlag{name, o}, name, usage) }
	add("password-file", "Take the password from the first line of `FILE`, - for standard input")
	add("root-password-file", "Take root's password from the first line of `FILE`, - for standard input")
	f.BoolVar(&o.lockAccount, "lock", false, "Let no password be right any more")
}

// readPassword reads the password that somebody is to have.
func (a *app) readPassword(of string) (string, error) {
	if a.passwordFile == "" || a.passwordFile == "-" && isTerminal(os.Stdin) {
		return a.askPassword(of)
	}
	file := os.Stdin
	if a.passwordFile != "-" {
		opened, err := os.Open(a.passwordFile)
		if err != nil {
			return "", unreadable(a.passwordOption, a.passwordFile, err)
		}
		defer opened.Close()
		file = opened
	}
	const longest = 4096 // bytes
	text, err := io.ReadAll(io.LimitReader(file, longest))
	if err != nil {
		return "", fmt.Errorf("cannot read the password: %w", err)
	}
	password, _, _ := strings.Cut(string(text), "\n")
	password = strings.TrimSuffix(password, "\r")
	if password == "" || strings.ContainsRune(password, 0) {
		return "", usagef("there is no password in %s", a.passwordFile)
	}
	return password, nil
}
