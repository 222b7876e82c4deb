package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/client"
	"github.com/machd/machd/client/internal/progress"
	"github.com/machd/machd/pkg/machine1"
)

// transferPatience is how long a transfer may take before it is worth a bar.
const transferPatience = 200 * time.Millisecond

// Priorities of syslog: what is of a higher number is news, and not for us.
const (
	priorityWarning = 4
	priorityNotice  = 5
)

// transfer begins a transfer and follows it to its end.
func (a *app) transfer(ctx context.Context, x transfer) error {
	if err := a.connectToAct(ctx, x.action); err != nil {
		return err
	}
	if err := a.mayReplace(ctx, x); err != nil {
		return err
	}
	begin, cancel := a.limit(ctx)
	defer cancel()
	began := time.Now()
	t, err := x.begin(begin)
	a.agent.Stop()
	if err != nil {
		return a.transferError(err)
	}
	defer t.Close()
	a.tellBegin(x, t)
	if err := a.followTransfer(ctx, x, t); err != nil {
		return a.transferError(err)
	}
	a.tellEnd(x, t, time.Since(began))
	return nil
}

// A leftError is a transfer that goes on without us.
type leftError struct{ statusError }

func (e *leftError) Unwrap() error { return e.statusError }

// followTransfer shows how far a transfer is until it is over, or until a signal has us
// leave it to itself.
func (a *app) followTransfer(ctx context.Context, x transfer, t *client.Transfer) error {
	var fraction atomic.Uint64 // bits of a float64
	fraction.Store(math.Float64bits(progress.Nothing.Fraction))
	bar := a.startProgress(x.title(), transferPatience, func() progress.State {
		state := progress.Nothing
		state.Fraction = math.Float64frombits(fraction.Load())
		state.Done, state.Total = t.Bytes()
		return state
	})
	defer bar.End()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	signals, stop := interrupted()
	defer stop()
	taken := make(chan os.Signal, 1)
	go func() {
		select {
		case s := <-signals:
			taken <- s
			cancel()
		case <-ctx.Done():
		}
	}()
	for e, err := range t.Events(ctx) {
		switch {
		case err != nil && ctx.Err() != nil:
			bar.End()
			return a.leave(t, <-taken)
		case err != nil:
			return err
		case e.Line != "":
			a.tellLine(bar, e)
		default:
			fraction.Store(math.Float64bits(e.Progress))
		}
	}
	return nil
}

func (x transfer) title() string {
	if x.image == "" {
		return x.from
	}
	return x.image
}

// tellBegin tells that a transfer has begun, and its number.
//
// Reference: importctl.c, transfer_image_common: the words of the stock command
// are looked for.
func (a *app) tellBegin(x transfer, t *client.Transfer) {
	if a.stock {
		a.ui.say(fmt.Sprintf("Enqueued transfer job %d. Press C-c to continue download in background.", t.ID))
		return
	}
	a.ui.notice(fmt.Sprintf("%s %s (transfer %d)", x.verb, x.what(), t.ID))
}

// what says what is transferred where.
func (x transfer) what() string {
	switch {
	case x.to == "":
		return x.from
	case x.from == x.to:
		return x.from
	case x.image == x.to:
		return x.from + " as " + x.to
	}
	return x.from + " to " + x.to
}

func (a *app) tellEnd(x transfer, t *client.Transfer, took time.Duration) {
	if a.stock {
		return
	}
	cost := span(took.Round(time.Millisecond))
	if done, _ := t.Bytes(); done != client.Unknown && done > 0 {
		cost = size(done) + " in " + cost
	}
	a.ui.notice(fmt.Sprintf("%s %s (%s)", x.past, x.what(), cost))
}

// tellLine shows what the transfer says of itself: all of it as the stock
// command does, or what is a warning. What is worse is told in the end.
func (a *app) tellLine(bar *progress.Bar, e client.TransferEvent) {
	line := printable(e.Line)
	switch {
	case a.stock && (!a.quiet || e.Priority <= priorityNotice):
	case !a.stock && !a.quiet && e.Priority == priorityWarning:
		line = "machctl: " + line
	default:
		return
	}
	if bar == nil {
		a.ui.line(line)
		return
	}
	bar.Log(line)
}

// leave lets a transfer go on by itself, and tells how to end it.
func (a *app) leave(t *client.Transfer, s os.Signal) error {
	number, _ := s.(unix.Signal)
	status := statusError(exitSignal + int(number))
	switch {
	case t.IsCarried():
		a.ui.notice(fmt.Sprintf("transfer %d is canceled: its bytes went through this command", t.ID))
		return status
	case a.stock:
		a.ui.say(fmt.Sprintf(`Continuing download in the background. Use "%s cancel-transfer %d" to abort transfer.`, machinectl, t.ID))
	default:
		a.ui.notice(fmt.Sprintf("transfer %d goes on in the background", t.ID))
		a.ui.hint(a.placed(fmt.Sprintf(`"machctl cancel-transfer %d" ends it, "machctl list-transfers" shows how far it is`, t.ID)))
	}
	return &leftError{status}
}

// transferError adds what was said before a transfer failed, and the way out.
func (a *app) transferError(err error) error {
	var failed *client.TransferError
	if errors.Is(err, unix.EPIPE) && !a.stock {
		return statusError(exitSignal + int(unix.SIGPIPE))
	}
	switch {
	case !errors.As(err, &failed):
	case a.stock && failed.Result == "failed" && failed.Reason != "":
		return statusError(exitFailure) // what it said of itself is told
	case len(failed.Lines) > 0:
		err = &loggedError{err, failed.Lines}
	}
	if hint := a.transferHint(err, failed); hint != "" {
		return &hintedError{err, hint}
	}
	return err
}

// transferHint returns the way out.
func (a *app) transferHint(err error, failed *client.TransferError) string {
	switch {
	case errors.Is(err, machine1.ErrServiceUnknown) && a.user:
		return "there is a systemd-importd for users since systemd 259, if systemd-container is installed; without --user it is the system's"
	case errors.Is(err, machine1.ErrServiceUnknown):
		return `systemd-importd does this: "apt install systemd-container" or "dnf install systemd-container" brings it`
	case errors.Is(err, machine1.ErrTransferInProgress):
		return `"machctl list-transfers" shows it`
	case errors.Is(err, machine1.ErrNoSuchTransfer):
		return `"machctl list-transfers" shows those that go on`
	case errors.Is(err, unix.EEXIST):
		return "--force replaces it"
	case a.user && strings.Contains(err.Error(), "Failed to set up machine pool: No such file"):
		return `"mkdir -p ~/.local/state" makes the directory that a user's images are kept below`
	case failed == nil:
		return ""
	case errors.Is(err, machine1.ErrFileNotFound):
		return "is the URL right?"
	}
	said := failed.Reason + " " + strings.Join(failed.Lines, " ")
	if hint := checkHint(said, !a.elsewhere()); hint != "" {
		return hint
	}
	switch {
	case strings.HasPrefix(said, "Unknown format"):
		return "--format=xz is known to every systemd, zstd since 258"
	case a.user && strings.Contains(said, "allocate transient user namespace: Operation not supported"):
		return "archives of a user's images take a kernel with bpf among its security modules (lsm=); disk images take none"
	case a.user && strings.Contains(said, "allocate transient user namespace"):
		return `archives of a user's images take services of the system: "systemctl start systemd-nsresourced.socket systemd-mountfsd.socket", as root`
	case cannotWrite(failed.Reason):
		return fullPerhaps
	case strings.Contains(said, "final image name") && strings.Contains(said, "File exists"):
		return `a download of that URL is kept as a hidden image: "machctl remove" with its name, or "machctl clean", removes it`
	}
	return ""
}

// checkHint returns the way out where a download was not found to be what somebody
// has published, by what was said of it.
//
// Reference: pull-common.c, pull-job.c: their words are looked for.
func checkHint(said string, here bool) string {
	switch {
	case strings.Contains(said, "retrieve signature file"):
		return "nobody has signed it: --verify=checksum trusts the server's SHA256SUMS without a signature"
	case strings.Contains(said, "retrieve SHA256 checksum"):
		return "the server has no checksum of it, SHA256SUMS or a file of its name with .sha256: --verify=no takes what comes"
	case strings.Contains(said, "Signature verification failed"), strings.Contains(said, "Failed to write to pipe: Broken pipe"):
		// The pipe is gpg's, which may have ended before it was told what to check.
		if _, err := exec.LookPath("gpg"); err != nil && here {
			return `gpg checks signatures, which this host does not have: "apt install gpg" or "dnf install gnupg2" brings it`
		}
		return `"gpg --export KEY >>/etc/systemd/import-pubring.gpg", as root, has the host trust who signs with KEY; --verify=checksum does without`
	case strings.Contains(said, "did not check out"):
		return "it is not what the server's SHA256SUMS lists: damaged, changed, or newer than the list; --verify=no takes it nevertheless"
	}
	return ""
}
