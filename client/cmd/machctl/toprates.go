package main

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/machd/machd/client"
)

// A load is what one machine takes; nil is what nobody counts.
type load struct {
	name        string
	cpu         *float64 // percent of one processor
	memory      *float64 // bytes
	tasks       *float64
	read, write *float64 // bytes a second
}

// ratesOf returns what machines took between two samples. Of one that was not
// there before, or that is another one now, there is no rate yet.
func ratesOf(before, now sample) []load {
	known := map[string]client.MachineUsage{}
	for _, m := range before.machines {
		known[m.Name] = m
	}
	elapsed := now.at.Sub(before.at)
	loads := make([]load, 0, len(now.machines))
	for _, m := range now.machines {
		b := known[m.Name]
		loads = append(loads, load{
			name:   m.Name,
			cpu:    scaled(rate(b.CPU, m.CPU, elapsed), 100*1e-6),
			memory: plain(m.Memory),
			tasks:  plain(m.Tasks),
			read:   rate(b.IORead, m.IORead, elapsed),
			write:  rate(b.IOWrite, m.IOWrite, elapsed),
		})
	}
	return loads
}

// rate returns how much a counter grew in a second, rounded to tenths.
func rate(before, now *uint64, elapsed time.Duration) *float64 {
	if before == nil || now == nil || *now < *before || elapsed <= 0 {
		return nil
	}
	n := math.Round(float64(*now-*before)/elapsed.Seconds()*10) / 10
	return &n
}

func scaled(n *float64, factor float64) *float64 {
	if n == nil {
		return nil
	}
	s := math.Round(*n*factor*10) / 10
	return &s
}

func plain(n *uint64) *float64 {
	if n == nil {
		return nil
	}
	f := float64(*n)
	return &f
}

// An order is by which column machines are sorted.
type order struct {
	column  int // of topTable
	reverse bool
}

// The keys that choose a column, in the order of topTable's.
const orderKeys = "ncmtrw"

// newOrder has those first that take most of the processors.
func newOrder() order { return order{column: strings.IndexByte(orderKeys, 'c')} }

// sorted sorts rows: the largest number first, names from A, what is not known
// last. Equals stay in the order of their names.
func (o order) sorted(rows []load) []load {
	slices.SortStableFunc(rows, func(a, b load) int { return strings.Compare(a.name, b.name) })
	column := func(l load) *float64 { return [...]*float64{nil, l.cpu, l.memory, l.tasks, l.read, l.write}[o.column] }
	slices.SortStableFunc(rows, func(a, b load) int {
		x, y := column(a), column(b)
		switch {
		case x == nil || y == nil:
			return cmp.Compare(known(y), known(x))
		case o.reverse:
			return cmp.Compare(*x, *y)
		}
		return cmp.Compare(*y, *x)
	})
	if o.column == 0 && o.reverse {
		slices.Reverse(rows)
	}
	return rows
}

func known(n *float64) int {
	if n == nil {
		return 0
	}
	return 1
}
