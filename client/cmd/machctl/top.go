package main

import (
	"context"
	"fmt"
	"time"

	"github.com/machd/machd/client"
	"github.com/machd/machd/client/internal/table"
)

// top shows what machines take of the host: on a terminal until the user
// leaves, and elsewhere as often as is asked for.
func (a *app) top(ctx context.Context, _ []string) error {
	if err := a.connect(ctx); err != nil {
		return err
	}
	if a.linesGiven {
		a.iterations = a.lines
	}
	if err := loadList.check(a.options); err != nil {
		return err
	}
	order, delay := newOrder(), a.delay.or(topDelay)
	if a.iterations == 0 && a.asUsual() && !a.json() && a.ui.isTerminal() {
		shown, err := a.topOnScreen(ctx, order, delay)
		if shown || err != nil {
			return err
		}
	}
	before, err := a.sample(ctx)
	if err != nil {
		return err
	}
	for n := range max(a.iterations, 1) {
		if !sleep(ctx, delay) {
			return nil
		}
		now, err := a.sample(ctx)
		if err != nil {
			return err
		}
		rows := order.sorted(ratesOf(before, now))
		before = now
		if n > 0 && !a.structured() {
			a.ui.print("\n")
		}
		text, err := loadList.draw(a, rows)
		a.ui.print(text)
		if err != nil || a.ui.failed != nil {
			return err
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// A sample is what machines take at one moment.
type sample struct {
	at       time.Time
	machines []client.MachineUsage
}

func (a *app) sample(ctx context.Context) (sample, error) {
	ctx, cancel := a.limit(ctx)
	defer cancel()
	machines, err := a.client.Usage(ctx)
	return sample{time.Now(), machines}, err
}

// loadList is what top tells. What is nil the kernel does not count.
var loadList = listing[load]{what: "machines", columns: []column[load]{
	{key: "machine", head: "MACHINE", value: func(l load) any { return l.name }},
	{key: "cpu_percent", head: "CPU", value: func(l load) any { return orNil(l.cpu) }, cell: func(l load) table.Cell { return percentCell(l.cpu) }, right: true},
	{key: "memory", head: "MEMORY", value: func(l load) any { return orNil(l.memory) }, cell: func(l load) table.Cell { return bytesCell(l.memory) }, right: true},
	{key: "tasks", head: "TASKS", value: func(l load) any { return orNil(l.tasks) }, cell: func(l load) table.Cell { return countCell(l.tasks) }, right: true},
	{key: "io_read_per_second", head: "READ/S", value: func(l load) any { return orNil(l.read) }, cell: func(l load) table.Cell { return bytesCell(l.read) }, right: true},
	{key: "io_write_per_second", head: "WRITE/S", value: func(l load) any { return orNil(l.write) }, cell: func(l load) table.Cell { return bytesCell(l.write) }, right: true},
}}

func orNil(n *float64) any {
	if n == nil {
		return nil
	}
	return *n
}

func percentCell(n *float64) table.Cell {
	if n == nil {
		return cell("", nil)
	}
	return cell(fmt.Sprintf("%.1f%%", *n), nil)
}

func bytesCell(n *float64) table.Cell {
	if n == nil {
		return cell("", nil)
	}
	return cell(size(uint64(*n)), nil)
}

func countCell(n *float64) table.Cell {
	if n == nil {
		return cell("", nil)
	}
	return cell(fmt.Sprintf("%.0f", *n), nil)
}
