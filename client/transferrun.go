package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
)

// closeTimeout is how long Close may take to have a transfer canceled.
const closeTimeout = 5 * time.Second

const (
	transferRemoved = importManager + ".TransferRemoved"
	logMessage      = importTransfer + ".LogMessage"
	progressUpdate  = importTransfer + ".ProgressUpdate"
)

// A Transfer is one that this client has begun. It belongs to one goroutine at
// a time, but for Bytes and Cancel. It is over when the sequence of Events or
// Wait is; Close gives up waiting for it.
type Transfer struct {
	ID uint32

	c       *Client
	path    dbus.ObjectPath
	sub     *subscription
	stream  *stream // nil for what comes from a server
	subject string  // what is tried, for errors: "pull URL"

	lines   []logLine       // that may tell why it fails
	noSpace bool            // somebody has said that a disk is full
	told    []TransferEvent // that nobody has been given yet
	lost    time.Time       // until then the daemon may still tell how it ended; zero if it is there
	over    bool
	outcome error // valid if over
	ended   func()
}

// A TransferEvent is what a transfer tells of itself: how far it is, or a line.
type TransferEvent struct {
	Progress float64 // from 0 to 1; NoProgress with a line
	Line     string  // "" with a progress
	Priority int     // of the line, as of syslog: 3 is an error, 4 a warning, 6 what may be of interest
}

// transfer begins a transfer. It owns s, which is closed if that fails.
func (c *Client) transfer(ctx context.Context, call transferCall, s *stream) (*Transfer, error) {
	t := &Transfer{c: c, stream: s}
	var err error
	if t.sub, err = c.subscribe(ctx, importName,
		wanted{signal: transferRemoved, path: importPath},
		wanted{signal: logMessage},
		wanted{signal: progressUpdate}); err == nil {
		t.sub.tellsLoss = true
		err = c.begin(ctx, call, &t.ID, &t.path)
	}
	if err != nil {
		if t.sub != nil {
			t.sub.close()
		}
		if s != nil {
			s.close()
		}
		return nil, err
	}
	t.ended = sync.OnceFunc(t.sub.close)
	if s != nil {
		s.carry(func() { _ = t.Cancel(context.Background()) })
	}
	return t, nil
}

// Events yields what the transfer tells until it is over. The sequence ends
// with an error if the transfer failed or was canceled, a *TransferError, or
// if nobody can tell any more. Whoever leaves it early may go on later.
func (t *Transfer) Events(ctx context.Context) iter.Seq2[TransferEvent, error] {
	return func(yield func(TransferEvent, error) bool) {
		for !t.over || len(t.told) > 0 {
			if len(t.told) > 0 {
				e := t.told[0]
				t.told = t.told[1:]
				if !yield(e, nil) {
					return
				}
				continue
			}
			n, err := t.next(ctx)
			if err != nil {
				yield(TransferEvent{}, fmt.Errorf("cannot %s: %w", t.subject, err))
				return
			}
			t.take(ctx, n)
		}
		if t.outcome != nil {
			yield(TransferEvent{}, t.outcome)
		}
	}
}

// take makes events of a signal of this transfer.
func (t *Transfer) take(ctx context.Context, n notice) {
	switch {
	case n.Name == nameOwnerChanged:
		t.afterChange(ctx)
	case n.Name == transferRemoved:
		var id uint32
		var path dbus.ObjectPath
		var result string
		if dbus.Store(n.Body, &id, &path, &result) != nil || path != t.path {
			return
		}
		t.finish(resultError(result, t.lines, t.noSpace, t.stream != nil && t.stream.writing))
	case n.Path != t.path:
	case n.Name == progressUpdate:
		fraction := NoProgress
		if dbus.Store(n.Body, &fraction) != nil {
			return
		}
		if fraction = progressOf(fraction); fraction != NoProgress {
			t.told = append(t.told, TransferEvent{Progress: fraction})
		}
	case n.Name == logMessage:
		var priority uint32
		var text string
		if dbus.Store(n.Body, &priority, &text) != nil {
			return
		}
		t.takeLines(priority, text)
	}
}

// takeLines takes what the transfer says. What it says fast comes as several lines
// in one.
func (t *Transfer) takeLines(priority uint32, text string) {
	const level = 7 // the rest is the facility
	for line := range strings.SplitSeq(text, "\n") {
		if line == "" {
			continue
		}
		e := TransferEvent{Progress: NoProgress, Line: line, Priority: int(priority & level)}
		t.noSpace = t.noSpace || strings.Contains(line, noSpace)
		t.lines = remember(t.lines, logLine{e.Priority, e.Line})
		t.told = append(t.told, e)
	}
}

// outcomePatience is how long it may take to hear how a transfer has ended that its
// daemon does not know any more.
const outcomePatience = 500 * time.Millisecond

// next returns what the transfer's daemon tells next.
func (t *Transfer) next(ctx context.Context) (notice, error) {
	if t.lost.IsZero() {
		return t.sub.next(ctx)
	}
	limited, cancel := context.WithDeadline(ctx, t.lost)
	defer cancel()
	n, err := t.sub.next(limited)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		t.finish(fmt.Errorf("systemd-importd has ended, and the transfer with it: %w", machine1.ErrNoReply))
		return notice{Signal: &dbus.Signal{}}, nil
	}
	return n, err
}

// afterChange finds out whether the transfer was ended with its daemon. The one
// that changed may be the one before, which had nothing to do; and the transfer
// may be over by now, which is told next.
func (t *Transfer) afterChange(ctx context.Context) {
	var id dbus.Variant
	err := t.c.call(ctx, bus.Target{Name: importName, Path: t.path}, propertiesGet, []any{importTransfer, "Id"}, &id)
	if err != nil && ctx.Err() == nil && t.lost.IsZero() {
		t.lost = time.Now().Add(outcomePatience)
	}
}

func (t *Transfer) finish(err error) {
	t.over = true
	t.ended()
	if t.stream != nil {
		// That a file cannot be written or read is why the daemon failed.
		if streamErr := t.stream.finish(); streamErr != nil {
			err = streamErr
		}
	}
	if err != nil {
		t.outcome = fmt.Errorf("cannot %s: %w", t.subject, err)
	}
}

// Wait waits until the transfer is over. It returns nil if all was transferred,
// else what Events ends with.
func (t *Transfer) Wait(ctx context.Context) error {
	for _, err := range t.Events(ctx) {
		if err != nil {
			return err
		}
	}
	return nil
}

// Bytes returns how many bytes have been transferred and how many there are,
// as long as the transfer goes on; Unknown where nobody can tell. Only imports
// and exports of files can.
func (t *Transfer) Bytes() (done, total uint64) {
	if t.stream == nil {
		return Unknown, Unknown
	}
	return t.stream.bytes()
}

// IsCarried reports whether the bytes go through this process: the transfer
// cannot go on without it.
func (t *Transfer) IsCarried() bool { return t.stream != nil && t.stream.ours != nil }

// Cancel ends the transfer. It does not wait for that: Wait does.
func (t *Transfer) Cancel(ctx context.Context) error {
	return t.c.CancelTransfer(ctx, t.ID)
}

// Close gives up waiting. The transfer goes on, but for one whose bytes go
// through this process, which is canceled.
func (t *Transfer) Close() {
	t.ended()
	if !t.over && t.IsCarried() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		_ = t.Cancel(ctx) // it may be over by now
		t.stream.close()
	}
}
