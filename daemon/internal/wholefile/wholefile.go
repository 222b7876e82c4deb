// Package wholefile replaces files as a whole: whoever reads one sees what was
// there before or what is there now, also if the writer is killed.
package wholefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Write puts a file in place. If it fails, what was there stays. The directory
// has to be there. A writer that is killed may leave a draft, whose name begins
// with ".#", beside it.
func Write(path string, content []byte, mode fs.FileMode) error {
	draft, err := os.CreateTemp(filepath.Dir(path), ".#"+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = draft.Write(content)
	err = errors.Join(err, draft.Chmod(mode), draft.Close())
	if err == nil {
		err = os.Rename(draft.Name(), path)
	}
	if err != nil {
		os.Remove(draft.Name())
	}
	return err
}
