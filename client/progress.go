package client

import (
	"context"
	"encoding/json"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machd"
)

// A Progress is how far a copy, a clone or a removal is. Totals are 0 as long as
// nobody knows them. Of a removal, files are told and no bytes.
type Progress = machd.Progress

type progressKey struct{}

// WithProgress returns a context for calls that may take long: CopyTo, CopyFrom,
// CloneImage, RemoveImage, RemoveImageKeepingSettings and CleanPool. With machd
// told is called, by a goroutine of its own, whenever such a call has come
// further, ten times a second at most, and not after the call has returned. And
// the end of the context then calls off what is going on, with nothing half-made
// left, and the call waits for that, up to 5 s; otherwise it is only not waited for
// any more.
//
// systemd-machined cannot tell, and is called as ever.
func WithProgress(ctx context.Context, told func(Progress)) context.Context {
	return context.WithValue(ctx, progressKey{}, told)
}

// tellLong makes the call of machd's own that in returns the arguments of, if
// somebody wants to know how far it is and the daemon can tell, else the stock one.
// The pipe is an option of such a call; 0 is none.
func (c *Client) tellLong(ctx context.Context, member string, in func(pipe dbus.UnixFD) []any, stock string, stockIn []any, out ...any) error {
	return c.either(ctx, ctx.Value(progressKey{}) == nil, func() error {
		return c.following(ctx, func(ctx context.Context, pipe dbus.UnixFD) error {
			return c.call(ctx, machined, machd.ManagerInterface+"."+member, in(pipe), out...)
		})
	}, func() error { return c.tell(ctx, stock, stockIn, out...) })
}

// following has call made, to machd, with a pipe that it writes to how far it is,
// if somebody wants to know; else with 0, which no such pipe is.
func (c *Client) following(ctx context.Context, call func(ctx context.Context, pipe dbus.UnixFD) error) error {
	told, ok := ctx.Value(progressKey{}).(func(Progress))
	if !ok || told == nil {
		return call(ctx, 0)
	}
	log, err := c.openLog(func(line string) {
		var p Progress
		if json.Unmarshal([]byte(line), &p) == nil {
			told(p)
		}
	})
	if err != nil {
		return err
	}
	// Nobody reads from then on, which is how the daemon knows.
	stop := context.AfterFunc(ctx, log.abandon)
	defer stop()
	defer func() {
		// The daemon has let go by now, and if it has not there is no more to say.
		patience := time.AfterFunc(lastWords, log.abandon)
		log.end()
		patience.Stop()
	}()
	if log.writer == nil {
		return call(ctx, 0)
	}
	return log.callOff(ctx, func(ctx context.Context) error { return call(ctx, dbus.UnixFD(log.writer.Fd())) })
}

// lastWords is how long the end of a call waits for what was told before.
const lastWords = time.Second
