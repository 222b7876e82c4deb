package client

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
)

// inFlight is how many machines are asked at the same time, two calls each.
// Servers bound the calls they keep for one client at about a thousand.
const inFlight = 64

// A ListedDetail is one machine of an overview. A value whose error is set is
// unknown; ErrTimeout says that the machine did not answer in time.
type ListedDetail struct {
	machine1.ListedMachine
	OSRelease    map[string]string
	OSError      error
	Addresses    []netip.Addr
	AddressError error
}

// Overview returns machines with what each of them must be asked for. The
// questions go out together, and a machine that does not answer within
// patience costs its own values only. No question asks the user for a
// password.
func (c *Client) Overview(ctx context.Context, machines []machine1.ListedMachine, patience time.Duration) []ListedDetail {
	details := make([]ListedDetail, len(machines))
	var next atomic.Int64
	var answered atomic.Int64
	answered.Store(time.Now().UnixNano())

	var workers sync.WaitGroup
	for range min(inFlight, len(machines)) {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(machines)); i = next.Add(1) - 1 {
				details[i].ListedMachine = machines[i]
				// When as many machines as fit were silent twice in a row, it is
				// the daemon that hangs, and asking on would take for ever.
				if time.Since(time.Unix(0, answered.Load())) > 2*patience {
					details[i].OSError = errSilent
					details[i].AddressError = errSilent
					continue
				}
				c.detail(ctx, &details[i], patience)
				if details[i].OSError != errSilent || details[i].AddressError != errSilent {
					answered.Store(time.Now().UnixNano())
				}
			}
		})
	}
	workers.Wait()
	return details
}

var errSilent = fmt.Errorf("no answer: %w", machine1.ErrTimeout)

// detail fills in d; its two calls share one time limit.
func (c *Client) detail(ctx context.Context, d *ListedDetail, patience time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()

	var rows []machine1.Address
	osRelease := c.askLater(ctx, "GetMachineOSRelease", d.Name, &d.OSRelease)
	addresses := c.askLater(ctx, "GetMachineAddresses", d.Name, &rows)
	d.OSError = osRelease()
	d.AddressError = addresses()
	d.Addresses = addrs(rows)
}

// askLater sends a question now; the function it returns waits for the answer.
// An answer that is there already counts, even if the time is over.
func (c *Client) askLater(ctx context.Context, member, name string, out any) func() error {
	member = machine1.ManagerInterface + "." + member
	in := []any{name}
	call, err := bus.Go(ctx, c.conn, machined, member, false, in)
	return func() error {
		if err != nil {
			return err
		}
		wait := ctx
		if len(call.Done) > 0 {
			wait = context.WithoutCancel(ctx)
		}
		err := c.explain(ctx, machine1.BusName, bus.Wait(wait, call, out))
		if errors.Is(err, machine1.ErrNoReply) {
			err = c.explain(ctx, machine1.BusName, bus.Call(ctx, c.conn, machined, member, false, in, out))
		}
		var answer *machine1.RemoteError
		if errors.Is(err, machine1.ErrTimeout) && !errors.As(err, &answer) {
			return errSilent
		}
		return err
	}
}
