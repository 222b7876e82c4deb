package client

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

// A TransferError is a transfer that was not finished. errors.Is finds
// machine1.ErrNoSuchImage, unix.EEXIST (there is an image of that name),
// machine1.ErrFileNotFound (the server has no such file), unix.EPIPE (nobody
// reads what is exported; never of an import), unix.ENOSPC (what is made has no
// room) and machine1.ErrTransferCanceled in it, where the daemon's lines say so.
type TransferError struct {
	Result string   // "failed" or "canceled", by the daemon
	Reason string   // the line that says why, "" if none does
	Lines  []string // what else was said before the end

	kind error
}

func (e *TransferError) Error() string {
	switch {
	case e.Result == "canceled":
		return "it was canceled"
	case e.Reason == "":
		return "systemd-importd does not say why it failed"
	case e.kind == unix.ENOSPC && !strings.Contains(e.Reason, noSpace):
		return e.Reason + ": " + e.kind.Error()
	}
	return e.Reason
}

func (e *TransferError) Unwrap() error { return e.kind }

// Syslog's priorities.
const (
	priorityError  = 3
	priorityNotice = 5
)

// A logLine is a line of the process that carries out a transfer.
type logLine struct {
	priority int
	text     string
}

// Lines that may tell why a transfer fails are kept: so many, and fewer of tar's,
// which says the same of each file.
const (
	worthKeeping = 20
	fewOfTar     = 5
	tarSays      = "tar: "
)

// noSpace is what programs say of a disk that is full.
const noSpace = "No space left on device"

// remember adds a line to those that may tell why a transfer fails: what is
// more than news, and whatever tar and gpg say, which have no priority of their
// own. That a file was not found that is optional tells nothing.
//
// Reference: pull-common.c, pull-raw.c: the word is looked for.
func remember(lines []logLine, line logLine) []logLine {
	if n := len(lines); n > 0 && strings.HasSuffix(line.text, "proceeding without.") && strings.HasPrefix(lines[n-1].text, "HTTP request") {
		return lines[:n-1]
	}
	if line.priority > priorityNotice && !strings.HasPrefix(line.text, tarSays) && !strings.HasPrefix(line.text, "gpg: ") {
		return lines
	}
	lines = append(lines, line)
	var tars []int
	for i, l := range lines {
		if strings.HasPrefix(l.text, tarSays) {
			tars = append(tars, i)
		}
	}
	switch {
	case len(tars) > fewOfTar:
		return slices.Delete(lines, tars[0], tars[0]+1)
	case len(lines) > worthKeeping:
		return lines[1:]
	}
	return lines
}

// resultError makes an error of how a transfer ended, nil if it is done. full says
// that a line was about a disk that is.
func resultError(result string, lines []logLine, full, exports bool) error {
	if result == "done" {
		return nil
	}
	e := &TransferError{Result: result}
	if result == "canceled" {
		e.kind = machine1.ErrTransferCanceled
		return e
	}
	for _, line := range lines {
		text := strings.TrimSuffix(line.text, ".")
		if line.priority <= priorityError && e.Reason == "" {
			e.Reason = text
			continue
		}
		e.Lines = append(e.Lines, text)
	}
	e.kind = e.kindOf(full, exports)
	return e
}

// kindOf reads the kind of failure from the lines: the daemon has nothing else
// that tells. A pipe that breaks is the caller's in an export only: the others
// are between the daemon and its tar or gpg.
//
// Reference: import-common.c, import.c, export.c, pull-job.c: their words are
// looked for.
func (e *TransferError) kindOf(full, exports bool) error {
	said := e.Reason + "\n" + strings.Join(e.Lines, "\n")
	switch {
	case strings.HasPrefix(e.Reason, "Image '") && strings.HasSuffix(e.Reason, "already exists"):
		return unix.EEXIST
	case strings.HasPrefix(e.Reason, "Image ") && strings.HasSuffix(e.Reason, "not found"):
		return machine1.ErrNoSuchImage
	case strings.HasPrefix(e.Reason, "Failed to retrieve image file") && strings.Contains(said, "failed with code 404"):
		return machine1.ErrFileNotFound
	case exports && strings.HasPrefix(e.Reason, "Failed to write") && strings.HasSuffix(e.Reason, ": Broken pipe"):
		return unix.EPIPE
	case full:
		return unix.ENOSPC
	}
	return nil
}
