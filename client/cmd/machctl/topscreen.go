package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/client/internal/columns"
	"github.com/machd/machd/client/internal/fullscreen"
	"github.com/machd/machd/client/internal/table"
)

// topOnScreen keeps the numbers on the whole terminal until the user leaves. It
// reports false if that terminal cannot be had.
func (a *app) topOnScreen(ctx context.Context, o order, delay time.Duration) (shown bool, err error) {
	// Before the screen is taken, so that an error stays to be read.
	before, err := a.sample(ctx)
	if err != nil {
		return false, err
	}
	screen, err := fullscreen.Open(a.ui.out)
	if err != nil {
		return false, nil
	}
	v := topView{app: a, screen: screen, order: o, delay: delay, now: before}
	err = v.run(ctx)
	if closeErr := screen.Close(); err == nil {
		err = closeErr
	}
	return true, err
}

// A topView is what is on the screen.
type topView struct {
	*app
	screen *fullscreen.Screen
	order  order
	delay  time.Duration

	now   sample
	rows  []load
	first int // of rows, that is shown
}

func (v *topView) run(ctx context.Context) error {
	v.rows = ratesOf(v.now, v.now)
	for {
		if err := v.draw(); err != nil {
			return err
		}
		e := v.screen.Next(time.Until(v.now.at.Add(v.delay)), nil)
		switch {
		case e.Over != nil && e.Over != unix.SIGINT:
			return statusError(exitSignal + int(e.Over.(unix.Signal)))
		case e.Over != nil, e.Closed, e.Key == "q", ctx.Err() != nil:
			return nil
		case e.Key != "":
			v.press(e.Key)
		}
		if time.Since(v.now.at) < v.delay {
			continue
		}
		next, err := v.sample(ctx)
		if err != nil {
			return err
		}
		v.rows, v.now = ratesOf(v.now, next), next
	}
}

func (v *topView) press(key string) {
	if key == "i" {
		v.order.reverse = !v.order.reverse
		return
	}
	if column := strings.Index(orderKeys, key); column >= 0 {
		v.order = order{column: column}
		return
	}
	v.first += scroll(key, v.page(), len(v.rows))
}

// What stands above and below the rows: the totals, an empty line and the
// headers; an empty line and the keys.
const topLines, bottomLines = 3, 2

func (v *topView) page() int {
	height, _ := v.screen.Size()
	return max(height-topLines-bottomLines, 1)
}

func (v *topView) draw() error {
	_, width := v.screen.Size()
	rows := v.order.sorted(v.rows)
	page := v.page()
	v.first = max(min(v.first, len(rows)-page), 0)
	t, err := loadList.table(v.app, rows)
	if err != nil {
		return err
	}
	t.Headers[v.order.column] += v.arrow()
	drawn := strings.Split(t.Draw(table.Layout{Width: width, Header: true, Colour: v.ui.colour, Ellipsis: v.ui.ellipsis}), "\n")

	lines := []string{fullscreen.Fit(v.totals(rows), width), "", drawn[0]}
	lines = append(lines, drawn[1+v.first:1+min(v.first+page, len(rows))]...)
	for len(lines) < topLines+page {
		lines = append(lines, "")
	}
	keys := "q leaves   order by: n name  c cpu  m memory  t tasks  r read  w write   i turns it round"
	return v.screen.Draw(append(lines, "", v.ui.styled(fullscreen.Fit(keys, width), styleGrey)))
}

// arrow shows which way the rows are sorted. Where a triangle may take two
// columns, the headers would not stand above their numbers.
func (v *topView) arrow() string {
	up, down := "^", "v"
	if v.ui.unicode && columns.Of("▲") == 1 {
		up, down = "▲", "▼"
	}
	if v.order.reverse != (v.order.column == 0) {
		return up
	}
	return down
}

func (v *topView) totals(rows []load) string {
	var cpu, memory, tasks float64
	counted := false
	for _, r := range rows {
		cpu, tasks = cpu+value(r.cpu), tasks+value(r.tasks)
		memory, counted = memory+value(r.memory), counted || r.memory != nil
	}
	text := fmt.Sprintf("%s   machines %d   cpu %.1f%%   tasks %.0f", v.now.at.Format("15:04:05"), len(rows), cpu, tasks)
	if counted {
		text += "   memory " + size(uint64(memory))
	}
	return text
}

func value(n *float64) float64 {
	if n == nil {
		return 0
	}
	return *n
}
