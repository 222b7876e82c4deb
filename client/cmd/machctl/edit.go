package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/machd/machd/client"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/pkg/nspawnfile"
)

const editHelp = `The editor of $SYSTEMD_EDITOR, $EDITOR or $VISUAL gets a copy of the .nspawn file
of each NAME. What was changed is put in place when it ends; a file that is left
empty, or as it was, changes nothing. A file that came with the image is left
alone, and what is written counts in its place. It takes effect when the machine
is started the next time.`

// editors are tried in this order where the environment names none.
var editors = []string{"editor", "nano", "vim", "vi"}

// An edition is a settings file that is being edited.
type edition struct {
	name   string // of the machine
	target string // path of the file that is to be
	before []byte // what the editor got
	there  []byte // what the target was then, nil if it was not there
	draft  string // path of what the editor has
}

// edit lets an editor change settings, all in one run of it.
func (a *app) edit(ctx context.Context, names []string) (err error) {
	switch {
	case !a.ui.isTerminal() && a.stock:
		return stocked(errors.New("cannot edit settings: the output is not a terminal"), "Cannot edit machine settings if not on a tty.")
	case !a.ui.isTerminal() && len(namedEditor()) == 0:
		return &hintedError{
			errors.New("cannot edit settings: the output is not a terminal, and no editor is named that needs none"),
			`$EDITOR names one, "machctl set" changes one thing, and "machctl cat" shows what there is`,
		}
	case a.launch.VM:
		return stocked(errVMSettings, "Edit is only supported for --runner=nspawn")
	}
	if err := checkNames(names, machine1.ValidMachineName); err != nil && !a.stock {
		return err
	}
	var editions []*edition
	defer func() {
		for _, e := range editions {
			_ = os.Remove(e.draft)
		}
	}()
	var drafts []string
	for _, name := range names {
		e, err := a.findEdition(name)
		if err == nil && slices.ContainsFunc(editions, func(other *edition) bool { return other.target == e.target }) {
			continue
		}
		if err == nil {
			err = e.begin()
		}
		if err != nil {
			return fmt.Errorf("cannot edit the settings of %q: %w", name, err)
		}
		editions, drafts = append(editions, e), append(drafts, e.draft)
	}
	if err := a.runEditor(ctx, drafts); err != nil {
		return err
	}
	var failed failures
	for _, e := range editions {
		if err := a.putInPlace(e); err != nil {
			failed = append(failed, err)
		}
	}
	return failed.orNil()
}

// findEdition returns what there is to edit.
func (a *app) findEdition(name string) (*edition, error) {
	if a.stock {
		return stockEdition(name)
	}
	files, err := client.NspawnFiles(name)
	if err != nil {
		return nil, err
	}
	e := &edition{name: name, target: filepath.Join(client.SettingsDir, name+".nspawn")}
	if len(files) > 0 {
		e.before = []byte(files[0].Text)
		if !files[0].Untrusted {
			e.target, e.there = files[0].Path, e.before
		}
	}
	return e, nil
}

// begin writes the draft of what the editor gets, beside the file that is to be.
func (e *edition) begin() error {
	if err := os.MkdirAll(filepath.Dir(e.target), 0o755); err != nil {
		return err
	}
	draft, err := os.CreateTemp(filepath.Dir(e.target), ".#"+filepath.Base(e.target)+"-*")
	if err != nil {
		return err
	}
	e.draft = draft.Name()
	_, err = draft.Write(e.before)
	if err := errors.Join(err, draft.Chmod(modeOf(e.target)), draft.Close()); err != nil {
		return errors.Join(err, os.Remove(e.draft))
	}
	return nil
}

// modeOf keeps the mode of a file that is replaced.
func modeOf(path string) fs.FileMode {
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
		return info.Mode().Perm()
	}
	return 0o644
}

func (a *app) runEditor(ctx context.Context, files []string) error {
	find := findEditor
	if a.stock {
		find = a.stockEditor
	}
	editor, err := find()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, editor[0], append(editor[1:], files...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return stocked(fmt.Errorf("nothing is changed: the editor %s: %w", editor[0], err), "%s", editorText(err))
	}
	return nil
}

// namedEditor is the editor that the environment names, none if it names none.
func namedEditor() []string {
	for _, name := range []string{"SYSTEMD_EDITOR", "EDITOR", "VISUAL"} {
		if words := strings.Fields(os.Getenv(name)); len(words) > 0 {
			return words
		}
	}
	return nil
}

func findEditor() ([]string, error) {
	if words := namedEditor(); len(words) > 0 {
		return words, nil
	}
	return anyEditor()
}

func anyEditor() ([]string, error) {
	for _, name := range editors {
		if path, err := exec.LookPath(name); err == nil {
			return []string{path}, nil
		}
	}
	return nil, stocked(&hintedError{
		fmt.Errorf("nothing is changed: there is no editor, neither %s", strings.Join(editors, " nor ")),
		"$EDITOR names the one that you like",
	}, "Cannot edit files, no editor available. Please set either $SYSTEMD_EDITOR, $EDITOR or $VISUAL.")
}

// putInPlace makes the file of what the editor has left.
func (a *app) putInPlace(e *edition) error {
	text, err := os.ReadFile(e.draft)
	if err != nil {
		return fmt.Errorf("cannot read what the editor left for %q: %w", e.name, err)
	}
	stripped := bytes.TrimSpace(text)
	switch {
	case a.stock && len(stripped) == 0:
		a.ui.line(e.target + ": after editing, new contents are empty, not writing file.")
		return nil
	case a.stock:
		if err := os.WriteFile(e.draft, append(stripped, '\n'), 0o644); err != nil {
			return fmt.Errorf("cannot write what the editor left for %q: %w", e.name, err)
		}
	case len(stripped) == 0:
		a.ui.notice(fmt.Sprintf("the settings of %q were left empty, so nothing is changed", e.name))
		return nil
	case bytes.Equal(text, e.before):
		a.ui.notice(fmt.Sprintf("the settings of %q are as they were", e.name))
		return nil
	}
	now, err := os.ReadFile(e.target)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot look at %s again: %w", e.target, err)
	}
	if !bytes.Equal(now, e.there) {
		kept := e.draft
		e.draft = ""
		return &hintedError{
			fmt.Errorf("%s was changed by somebody else meanwhile, so it is left alone", e.target),
			fmt.Sprintf("what you wrote is in %s", kept),
		}
	}
	if err := os.Rename(e.draft, e.target); err != nil {
		return fmt.Errorf("cannot put %s in place: %w", e.target, err)
	}
	if a.stock {
		a.ui.line("Successfully installed edited file '" + e.target + "'.")
	}
	a.noticeSettings(client.SettingsFile{Path: e.target}, nspawnfile.Parse(string(text)))
	return nil
}
