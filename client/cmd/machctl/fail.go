package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

// fail tells what went wrong and the way out, each once.
func (a *app) fail(err error) {
	if a.stock {
		a.stockFail(err)
		return
	}
	var hints []string
	for _, e := range flatten(err) {
		var status statusError
		if errors.As(e, &status) {
			continue
		}
		// What a daemon says at length is in further lines.
		problem, more, _ := strings.Cut(e.Error(), "\n")
		a.ui.problem(problem)
		for _, line := range strings.FieldsFunc(more, func(r rune) bool { return r == '\n' }) {
			a.ui.detail(line)
		}
		var logged *loggedError
		if errors.As(e, &logged) {
			for _, line := range logged.lines {
				a.ui.detail(line)
			}
		}
		if hint := a.hint(e); hint != "" && !slices.Contains(hints, hint) {
			hints = append(hints, hint)
		}
	}
	for _, hint := range hints {
		a.ui.hint(a.placed(hint))
	}
}

// A hinted error knows its way out.
type hintedError struct {
	error
	hint string
}

func (e *hintedError) Unwrap() error { return e.error }

// hint returns the way out of err, or "".
func (a *app) hint(err error) string {
	var hinted *hintedError
	var usage usageError
	switch {
	case errors.As(err, &hinted):
		return hinted.hint
	case errors.As(err, &usage):
		return a.usageHint()
	case errors.Is(err, machine1.ErrNoSuchMachine):
		return a.meant(err, a.knownMachines) + `"machctl list --all" shows the machines that run`
	case errors.Is(err, machine1.ErrNoSuchImage):
		return a.meant(err, a.knownImages) + `"machctl list-images" shows the images there are`
	case errors.Is(err, unix.ENOSPC) && a.ui.failed == nil && a.makesImages(err): // and it is not the result's disk
		return moreRoom
	case errors.Is(err, machine1.ErrInteractionRequired) && a.noAskPassword:
		return "without --no-ask-password you are asked for a password"
	case errors.Is(err, machine1.ErrAccessDenied), errors.Is(err, machine1.ErrInteractionRequired), errors.Is(err, fs.ErrPermission):
		return a.deniedHint(err)
	case errors.Is(err, machine1.ErrServiceUnknown) && a.user:
		return fmt.Sprintf(`"%s" and "%s" start machd where it is installed, and "%s" says why it does not run`,
			a.scoped("systemctl enable machd"), a.scoped("systemctl restart machd.socket machd.service"), a.scoped("systemctl status machd"))
	case errors.Is(err, machine1.ErrServiceUnknown):
		return fmt.Sprintf(`"%s" starts machd where it is installed, and "%s" says why it does not run`,
			a.scoped("systemctl start systemd-machined.service"), a.scoped("systemctl status systemd-machined.service"))
	case errors.Is(err, machine1.ErrDisconnected) && a.client == nil && a.user && !a.elsewhere():
		return `a user has a bus while he is logged in, or always after "loginctl enable-linger USER"; $DBUS_SESSION_BUS_ADDRESS or $XDG_RUNTIME_DIR names it`
	case errors.Is(err, machine1.ErrDisconnected) && a.client == nil && !a.elsewhere():
		return `"systemctl start dbus.socket" starts the system bus; $DBUS_SYSTEM_BUS_ADDRESS names another one`
	}
	return ""
}

// moreRoom is the way out where the disk of the images is full.
const moreRoom = `"machctl list-images" shows what takes how much, and "machctl clean" removes what downloads have left`

// fullPerhaps is moreRoom where nobody says so.
const fullPerhaps = "is the disk full? " + moreRoom

// cannotWrite reports whether the programs of systemd-importd say of a file that
// it could not be written, which is all that they know since systemd 258.
//
// Reference: tar-util.c, import-raw.c: their words are looked for.
func cannotWrite(said string) bool {
	for line := range strings.Lines(said) {
		line = strings.TrimSpace(line)
		if strings.HasSuffix(line, ": Write error") || line == "Failed to write file: Input/output error" {
			return true
		}
	}
	return false
}

// makesImages reports whether what failed was about files of images, of which
// there may be too many. An export's file is none.
func (a *app) makesImages(err error) bool {
	row, _ := a.rowOf(a.verb)
	ours := row.group == groupImages || row.group == groupTransfer && !strings.HasPrefix(row.name(), "export-")
	return ours || strings.Contains(err.Error(), machine1.PoolPath+"/")
}

// deniedHint leaves it at the daemon's own words if they name the right that
// is missing.
func (a *app) deniedHint(err error) string {
	switch {
	case a.action != "" && strings.Contains(err.Error(), a.action):
		return ""
	case os.Geteuid() == 0:
		return "a security module or the bus policy stands in the way: see the journal"
	case a.action == "":
		return "run it as root"
	}
	return fmt.Sprintf("run it as root, or let a polkit rule allow %s", a.action)
}
