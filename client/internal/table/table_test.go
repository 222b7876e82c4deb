package table_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/mattn/go-runewidth"

	"github.com/machd/machd/client/internal/columns/columnstest"
	"github.com/machd/machd/client/internal/table"
)

func machines() *table.Table {
	return &table.Table{
		Headers: []string{"NAME", "SIZE", "ADDRESSES"},
		Right:   []bool{false, true, false},
		Rows: [][]table.Cell{
			{{Text: "web"}, {Text: "1.5G"}, {Text: "10.0.0.1\nfe80::1"}},
			{{Text: "日本"}, {}, {Text: "-", Style: "90"}},
		},
	}
}

func TestDraw(t *testing.T) {
	columnstest.EastAsian(t, false)
	for name, c := range map[string]struct {
		layout table.Layout
		want   string
	}{
		"as wide as needed": {
			table.Layout{Header: true, Ellipsis: "…"},
			"NAME SIZE ADDRESSES\nweb  1.5G 10.0.0.1\n          fe80::1\n日本      -\n",
		},
		"without a header columns are as wide as their cells": {
			table.Layout{},
			"web  1.5G 10.0.0.1\n          fe80::1\n日本      -\n",
		},
		"with colour": {
			table.Layout{Header: true, Colour: true},
			"\x1b[4mNAME\x1b[0m \x1b[4mSIZE\x1b[0m \x1b[4mADDRESSES\x1b[0m\nweb  1.5G 10.0.0.1\n          fe80::1\n日本      \x1b[90m-\x1b[0m\n",
		},
		"narrow": {
			table.Layout{Header: true, Width: 14, Ellipsis: "…"},
			"NAME SIZE ADD…\nweb  1.5G 10.…\n          fe8…\n日本      -\n",
		},
		"narrower than possible": {
			table.Layout{Header: true, Width: 3, Ellipsis: "..."},
			". . .\n. . .\n    .\n.   -\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, machines().Draw(c.layout)); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

func TestAColumnIsKept(t *testing.T) {
	columnstest.EastAsian(t, false)
	tab := &table.Table{
		Headers: []string{"NAME", "UNIT"},
		Keep:    []bool{true, false},
		Rows:    [][]table.Cell{{{Text: "a-long-name"}, {Text: "machine-a.service"}}, {{Text: "👩‍👩‍👧 家族"}, {Text: "-"}}},
	}
	for width, want := range map[int]string{
		0:  "a-long-name machine-a.service\n👩‍👩‍👧 家族     -\n",
		20: "a-long-name machine…\n👩‍👩‍👧 家族     -\n",
		16: "a-long-name mac…\n👩‍👩‍👧 家族     -\n",
		14: "a-lon… machin…\n👩‍👩‍👧 家… -\n", // no room for the other one
	} {
		if diff := cmp.Diff(want, tab.Draw(table.Layout{Width: width, Ellipsis: "…"})); diff != "" {
			t.Errorf("%d columns: want -, got +:\n%s", width, diff)
		}
	}
}

// In these locales … has two columns, and a column of a table may have one.
func TestNarrowTablesOfEastAsia(t *testing.T) {
	for _, ellipsis := range []string{"…", "..."} {
		columnstest.EastAsian(t, true)
		for width := 1; width < 30; width++ {
			drawn := machines().Draw(table.Layout{Width: width, Header: true, Ellipsis: ellipsis})
			for line := range strings.SplitSeq(drawn, "\n") {
				// Three columns and what is between them is the least.
				if got := runewidth.StringWidth(line); got > max(width, 5) || !utf8.ValidString(line) {
					t.Errorf("%d columns wide instead of %d: %q", got, width, line)
				}
			}
		}
	}
}

func FuzzNoLineIsWiderThanTheTable(f *testing.F) {
	f.Add("a", "some longer text", "日本語\nsecond", 12)
	f.Add("", "", "", 5)
	f.Fuzz(func(t *testing.T, a, b, c string, width int) {
		width = 5 + max(width, -width)%200
		tb := &table.Table{Headers: []string{"A", "B", "C"}, Rows: [][]table.Cell{{{Text: a}, {Text: b}, {Text: c}}}}
		for line := range strings.SplitSeq(tb.Draw(table.Layout{Width: width, Header: true, Ellipsis: "…"}), "\n") {
			if got := runewidth.StringWidth(line); got > width {
				t.Errorf("%d columns wide instead of %d: %q", got, width, line)
			}
		}
	})
}
