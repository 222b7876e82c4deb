package main

// Settings as machinectl shows them and lets them be edited: by the name of a
// machine, by the name of a file, or by any path.

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/client"
)

// settingsPaths are the files that may be meant by a word.
func settingsPaths(word string) ([]string, error) {
	name := strings.TrimSuffix(word, settingsSuffix)
	dotted := func(part string) bool { return part == "." || part == ".." }
	switch {
	case filepath.IsAbs(word) && slices.ContainsFunc(strings.Split(word, "/"), dotted):
		return nil, stocked(usagef("%q leads through . or ..", word), "Invalid settings file path '%s'.", word)
	case filepath.IsAbs(word):
		return []string{word}, nil
	case strings.Contains(word, "/"):
		return nil, stocked(usagef("%q cannot be a machine's name", word), "Invalid settings file name '%s'.", name+settingsSuffix)
	}
	return client.SettingsPaths(name), nil
}

const settingsSuffix = ".nspawn"

// stockCat shows the file that counts of each machine.
func (a *app) stockCat(ctx context.Context, words []string) error {
	var missing error
	for _, word := range words {
		paths, err := settingsPaths(word)
		if err != nil {
			return err
		}
		there := func(path string) bool {
			_, err := os.Stat(path)
			return err == nil || len(paths) == 1
		}
		i := slices.IndexFunc(paths, there)
		if i < 0 {
			a.ui.line(fmt.Sprintf("No settings file found for machine '%s'.", word))
			missing = statusError(exitFailure)
			continue
		}
		if err := a.stockShow(ctx, paths[i]); err != nil {
			return err
		}
	}
	return missing
}

// stockShow prints a file. Only what is not plain takes a question which systemd
// runs, as machinectl shows that in more than one way.
func (a *app) stockShow(ctx context.Context, path string) error {
	text, err := os.ReadFile(path)
	link := ""
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		link, _ = filepath.EvalSymlinks(path)
	}
	head := "# " + path
	if err != nil || len(text) == 0 || link != "" || path != filepath.Clean(path) {
		number := systemdNumber(ctx, a.client)
		switch {
		case err != nil && number <= 257:
			return stocked(err, "Failed to cat %s: %s", path, errnoText(err))
		case errors.Is(err, fs.ErrNotExist):
			return stocked(err, "Failed to chase '%s': %s", path, errnoText(err))
		case number <= 257:
		case err == nil && len(text) == 0:
			head = "# " + filepath.Clean(path) + " is a mask."
		case link != "":
			head = "# " + filepath.Clean(path) + " -> " + link
		default:
			head = "# " + filepath.Clean(path)
		}
	}
	a.ui.print(a.ui.styled(head, styleBlue) + "\n" + withEnd(string(text)))
	return stocked(err, "Failed to open \"%s\": %s", path, errnoText(err))
}

// errnoText is why a call of the kernel's failed, as C programs say it.
func errnoText(err error) string {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return fmt.Sprint(err)
	}
	text := errno.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}

// stockEdition is an edition of what a word means.
func stockEdition(word string) (*edition, error) {
	paths, err := settingsPaths(word)
	if err != nil {
		return nil, err
	}
	e := &edition{name: word, target: paths[0]}
	for i, path := range paths {
		text, err := os.ReadFile(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, err
		case i == 0 || i < len(paths)-1: // not what came with the image
			e.target, e.there = path, text
		}
		e.before = text
		break
	}
	return e, nil
}

// stockEditor passes over an editor that cannot be run.
func (a *app) stockEditor() ([]string, error) {
	words := namedEditor()
	if len(words) > 0 {
		_, err := exec.LookPath(words[0])
		if err == nil {
			return words, nil
		}
		why := error(unix.ENOENT)
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EISDIR) {
			why = unix.EACCES
		}
		a.ui.line(fmt.Sprintf("Specified editor '%s' not available, trying fallbacks: %s", words[0], errnoText(why)))
	}
	return anyEditor()
}

// editorText says in the words of machinectl how the editor has failed.
func editorText(err error) string {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err.Error()
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return "'(editor)' terminated by signal " + signalName(status.Signal()) + "."
	}
	return fmt.Sprintf("'(editor)' failed with exit status %d.", exit.ExitCode())
}
