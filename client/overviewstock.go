package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
)

// inFlight is how many machines are asked at the same time, a few calls each.
// Servers bound the calls they keep for one client at about a thousand.
const inFlight = 64

// machinesOneByOne is Machines for a daemon that has to be asked about each.
func (c *Client) machinesOneByOne(ctx context.Context, q OverviewQuery) ([]ListedDetail, error) {
	machines, err := c.Silent().List(ctx)
	if err != nil {
		return nil, err
	}
	if len(q.Names) > 0 {
		machines = slices.DeleteFunc(machines, func(m machine1.ListedMachine) bool { return !slices.Contains(q.Names, m.Name) })
	}
	return c.askAll(ctx, machines, q), nil
}

// askAll asks about each of machines.
func (c *Client) askAll(ctx context.Context, machines []machine1.ListedMachine, q OverviewQuery) []ListedDetail {
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
				if time.Since(time.Unix(0, answered.Load())) > 2*q.Patience {
					details[i].OSError = errSilent
					details[i].AddressError = errSilent
					continue
				}
				c.askAbout(ctx, &details[i], q)
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

// askAbout fills in d; all its calls share one time limit.
func (c *Client) askAbout(ctx context.Context, d *ListedDetail, q OverviewQuery) {
	ctx, cancel := context.WithTimeout(ctx, q.Patience)
	defer cancel()

	var addresses []machine1.Address
	var all map[string]dbus.Variant
	manager := machine1.ManagerInterface + "."
	osRelease := c.askLater(ctx, machined, manager+"GetMachineOSRelease", d.Name, &d.OSRelease)
	waitAddresses := c.askLater(ctx, machined, manager+"GetMachineAddresses", d.Name, &addresses)
	if q.Properties {
		object := bus.Target{Name: machine1.BusName, Path: machine1.MachinePath(d.Name)}
		properties := c.askLater(ctx, object, propertiesGetAll, "", &all)
		_ = properties() // what is not told stays zero
		d.setProperties(machineOf(inOrder(all, nil)))
	}
	d.OSError = osRelease()
	d.AddressError = waitAddresses()
	d.Addresses = addrs(addresses)
}

func (d *ListedDetail) setProperties(m Machine) {
	d.ID, d.State, d.Unit, d.Subgroup, d.Leader, d.Supervisor = m.ID, m.State, m.Unit, m.Subgroup, m.Leader, m.Supervisor
	d.Since, d.RootDirectory, d.UID, d.NetworkInterfaces = m.Since, m.RootDirectory, m.UID, m.NetworkInterfaces
}

// askLater sends a question now; the function it returns waits for the answer.
// An answer that is there already counts, even if the time is over.
func (c *Client) askLater(ctx context.Context, to bus.Target, member, argument string, out any) func() error {
	in := []any{argument}
	call, err := bus.Go(ctx, c.conn, to, member, false, in)
	return func() error {
		if err != nil {
			return err
		}
		wait := ctx
		if len(call.Done) > 0 {
			wait = context.WithoutCancel(ctx)
		}
		err := c.explain(ctx, to.Name, bus.Wait(wait, call, out))
		if errors.Is(err, machine1.ErrNoReply) {
			err = c.explain(ctx, to.Name, bus.Call(ctx, c.conn, to, member, false, in, out))
		}
		var answer *machine1.RemoteError
		if errors.Is(err, machine1.ErrTimeout) && !errors.As(err, &answer) {
			return errSilent
		}
		return err
	}
}
