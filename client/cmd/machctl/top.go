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
	order, delay := newOrder(), a.delay.or(topDelay)
	if a.iterations == 0 && !a.json() && a.ui.isTerminal() {
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
		if a.json() {
			err = a.printJSON(loadsJSON(rows))
		} else {
			if n > 0 {
				a.ui.print("\n")
			}
			a.ui.print(a.drawList(topTable(rows), "machines"))
		}
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

func topTable(rows []load) *table.Table {
	t := &table.Table{
		Headers: []string{"MACHINE", "CPU", "MEMORY", "TASKS", "READ/S", "WRITE/S"},
		Right:   []bool{false, true, true, true, true, true},
	}
	for _, r := range rows {
		t.Rows = append(t.Rows, []table.Cell{
			cell(r.name, nil), percentCell(r.cpu), bytesCell(r.memory), countCell(r.tasks), bytesCell(r.read), bytesCell(r.write),
		})
	}
	return t
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

// A loadJSON has null for what the kernel does not count.
type loadJSON struct {
	Machine string   `json:"machine"`
	CPU     *float64 `json:"cpu_percent"`
	Memory  *float64 `json:"memory"`
	Tasks   *float64 `json:"tasks"`
	Read    *float64 `json:"io_read_per_second"`
	Write   *float64 `json:"io_write_per_second"`
}

func loadsJSON(rows []load) []loadJSON {
	list := []loadJSON{}
	for _, r := range rows {
		list = append(list, loadJSON{r.name, r.cpu, r.memory, r.tasks, r.read, r.write})
	}
	return list
}
