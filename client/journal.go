package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/machd/machd/pkg/machine1"
)

// A journalEntry is the fields of one entry that are a single text.
type journalEntry map[string]string

// UnmarshalJSON passes over what is no text: a field that there is twice, or
// that is not UTF-8.
func (e *journalEntry) UnmarshalJSON(data []byte) error {
	var raw map[string]any
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	*e = journalEntry{}
	for name, value := range raw {
		if text, ok := value.(string); ok {
			(*e)[name] = text
		}
	}
	return nil
}

// number returns a field that is a number of at most 64 bits, 0 if it is not.
func (e journalEntry) number(field string) uint64 {
	n, _ := strconv.ParseUint(e[field], 10, 64)
	return n
}

// when is the entry's own time.
func (e journalEntry) when() time.Time { return timeOf(e.number("__REALTIME_TIMESTAMP")) }

// journal yields the entries that journalctl selects, oldest first. It is a
// process of its own, since reading a journal needs a library in C.
func journal(ctx context.Context, args ...string) iter.Seq2[journalEntry, error] {
	return func(yield func(journalEntry, error) bool) {
		reading, cancel := context.WithCancel(ctx)
		defer cancel()
		cmd := exec.CommandContext(reading, "journalctl", append([]string{"--quiet", "--no-pager", "--output=json"}, args...)...)
		var complaint bytes.Buffer
		cmd.Stderr = &complaint
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			yield(nil, fmt.Errorf("cannot read the journal: %w", overtime("journalctl", err)))
			return
		}
		goOn, err := yieldEntries(out, yield)
		if !goOn || err != nil {
			cancel()
		}
		if waitErr := cmd.Wait(); err == nil && waitErr != nil {
			err = journalError(waitErr, complaint.String())
		}
		if err != nil && ctx.Err() != nil {
			err = overtime("journalctl", ctx.Err()) // rather than how it was killed
		}
		if goOn && err != nil {
			yield(nil, fmt.Errorf("cannot read the journal: %w", err))
		}
	}
}

func yieldEntries(r io.Reader, yield func(journalEntry, error) bool) (goOn bool, err error) {
	decoder := json.NewDecoder(r)
	for {
		var e journalEntry
		switch err := decoder.Decode(&e); {
		case errors.Is(err, io.EOF):
			return true, nil
		case err != nil:
			return true, err
		case !yield(e, nil):
			return false, nil
		}
	}
}

// journalError prefers what journalctl said to how it ended. That it has found
// nothing is no error, and it says nothing then.
func journalError(err error, complaint string) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	first, _, _ := strings.Cut(strings.TrimSpace(complaint), "\n")
	switch {
	case strings.Contains(first, "insufficient permissions"):
		return &kindError{machine1.ErrAccessDenied, errors.New(first)}
	case first != "":
		return errors.New(first)
	}
	if exit.ExitCode() == 1 {
		return nil
	}
	return err
}
