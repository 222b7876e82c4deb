package main

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// chooseOptions say which rows and columns of a list are printed, and how.
type chooseOptions struct {
	format  string
	columns []string
	sort    []string
	filters []string
}

func (o *chooseOptions) addChooseFlags(f *pflag.FlagSet) {
	f.StringVar(&o.format, "format", "", "Print each through a Go `TEMPLATE`, as '{{.name}}'; of an export: its compression")
	f.StringSliceVar(&o.columns, "columns", nil, "Show these `COLUMNS`, or more of them with + before the first")
	f.StringSliceVar(&o.sort, "sort", nil, "Sort by these `COLUMNS`, backwards with - before one")
	f.StringArrayVar(&o.filters, "filter", nil, "Show only where `COLUMN=PATTERN`, !=, < or >; may be repeated")
}

// asUsual reports whether a list shows no more than the stock command's.
func (o *options) asUsual() bool {
	return !o.jsonOption.on() && o.output != outputWide && o.format == "" &&
		len(o.columns) == 0 && len(o.sort) == 0 && len(o.filters) == 0
}

// find returns the column called key.
func (l listing[T]) find(option, key string) (column[T], error) {
	for _, c := range l.columns {
		if c.key == key {
			return c, nil
		}
	}
	keys := make([]string, len(l.columns))
	for i, c := range l.columns {
		keys[i] = c.key
	}
	return column[T]{}, usagef("--%s: there is no column %q%s", option, key, orOnly(key, keys))
}

// visible are the columns of the table.
func (l listing[T]) visible(o *options) ([]column[T], error) {
	var chosen []column[T]
	keys := o.columns
	more := len(keys) > 0 && strings.HasPrefix(keys[0], "+")
	if len(keys) == 0 || more {
		for _, c := range l.columns {
			if c.shown == always || c.shown == wide && o.output == outputWide {
				chosen = append(chosen, c)
			}
		}
	}
	for i, key := range keys {
		if i == 0 && more {
			key = key[1:]
		}
		c, err := l.find("columns", key)
		if err != nil {
			return nil, err
		}
		chosen = append(chosen, c)
	}
	return chosen, nil
}

// choose returns the rows that pass the filters, sorted.
func (l listing[T]) choose(o *options, rows []T) ([]T, error) {
	if _, err := l.visible(o); err != nil {
		return nil, err
	}
	tests, err := l.tests(o.filters)
	if err != nil {
		return nil, err
	}
	var chosen []T
	for _, row := range rows {
		if passes(tests, row) {
			chosen = append(chosen, row)
		}
	}
	return chosen, l.order(o.sort, chosen)
}

func (l listing[T]) order(keys []string, rows []T) error {
	type key struct {
		column   column[T]
		backward bool
	}
	var by []key
	for _, text := range keys {
		name, backward := strings.CutPrefix(text, "-")
		c, err := l.find("sort", name)
		if err != nil {
			return err
		}
		by = append(by, key{c, backward})
	}
	slices.SortStableFunc(rows, func(x, y T) int {
		for _, k := range by {
			n := compare(k.column.value(x), k.column.value(y))
			if k.backward {
				n = -n
			}
			if n != 0 {
				return n
			}
		}
		return 0
	})
	return nil
}

// compare orders two values of a column; what is unknown comes before the rest.
func compare(x, y any) int {
	x, y = jsonless(x), jsonless(y)
	if x == nil || y == nil {
		return cmp.Compare(btoi(x != nil), btoi(y != nil))
	}
	switch x := x.(type) {
	case float64:
		if y, ok := y.(float64); ok {
			return cmp.Compare(x, y)
		}
	case time.Time:
		if y, ok := y.(time.Time); ok {
			return x.Compare(y)
		}
	}
	return cmp.Compare(fmt.Sprint(x), fmt.Sprint(y))
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// jsonless returns a value as nil, float64, time.Time, string or []string.
func jsonless(value any) any {
	switch v := value.(type) {
	case string:
		if v == "" {
			return nil
		}
	case time.Time:
		if v.IsZero() {
			return nil
		}
	case time.Duration:
		return v.Seconds()
	case int:
		return float64(v)
	case int64:
		return float64(v)
	case uint16:
		return float64(v)
	case uint32:
		return float64(v)
	case uint64:
		return float64(v)
	case bool:
		return yesOrNo(v)
	}
	return value
}

// A test is one filter.
type test[T any] struct {
	column   column[T]
	operator string
	operand  string
}

// tests reads filters; those of one column that are for equality come together,
// as one of them has to hold.
func (l listing[T]) tests(filters []string) (map[string][]test[T], error) {
	tests := map[string][]test[T]{}
	for i, text := range filters {
		at := strings.IndexAny(text, "=!<>")
		if at <= 0 {
			return nil, usagef("--filter: %q is no filter; it is COLUMN=PATTERN, COLUMN!=PATTERN, COLUMN<VALUE or COLUMN>VALUE", text)
		}
		c, err := l.find("filter", text[:at])
		if err != nil {
			return nil, err
		}
		t := test[T]{column: c}
		for _, operator := range []string{"!=", "<=", ">=", "=", "<", ">"} {
			if rest, ok := strings.CutPrefix(text[at:], operator); ok {
				t.operator, t.operand = operator, rest
				break
			}
		}
		if t.operator == "" {
			return nil, usagef("--filter: %q has no operator that is known: =, !=, <, <=, >, >=", text)
		}
		if _, err := path.Match(t.operand, ""); err != nil && strings.HasSuffix(t.operator, "=") {
			return nil, usagef("--filter: %q is no pattern", t.operand)
		}
		group := c.key
		if t.operator != "=" {
			group += strconv.Itoa(i)
		}
		tests[group] = append(tests[group], t)
	}
	return tests, nil
}

func passes[T any](tests map[string][]test[T], row T) bool {
	for _, group := range tests {
		if !slices.ContainsFunc(group, func(t test[T]) bool { return t.holds(row) }) {
			return false
		}
	}
	return true
}

func (t test[T]) holds(row T) bool {
	value := jsonless(t.column.value(row))
	switch t.operator {
	case "=":
		return matches(value, t.operand)
	case "!=":
		return !matches(value, t.operand)
	}
	if value == nil {
		return false
	}
	n := compare(value, operandLike(value, t.operand))
	switch t.operator {
	case "<":
		return n < 0
	case "<=":
		return n <= 0
	case ">":
		return n > 0
	}
	return n >= 0
}

// matches reports whether a value, or one of several, looks like pattern.
func matches(value any, pattern string) bool {
	switch v := value.(type) {
	case nil:
		return pattern == ""
	case []string:
		return pattern == "" && len(v) == 0 || slices.ContainsFunc(v, func(s string) bool { return matches(s, pattern) })
	case float64:
		if size, err := parseSize(pattern); err == nil {
			return v == float64(size)
		}
	case time.Time:
		return strings.HasPrefix(v.Local().Format(time.RFC3339Nano), pattern)
	case string:
		// Stars match slashes, too.
		flat := strings.NewReplacer("/", "\x00")
		ok, _ := path.Match(flat.Replace(pattern), flat.Replace(v))
		return ok
	}
	return false
}

// operandLike reads what a value is compared with as the value's kind: bytes
// may end in K, M or G, and a time may be a date or lie as far back as "-1h".
func operandLike(value any, text string) any {
	switch value.(type) {
	case float64:
		if d, err := time.ParseDuration(text); err == nil {
			return d.Seconds()
		}
		if size, err := parseSize(text); err == nil {
			return float64(size)
		}
	case time.Time:
		for _, layout := range []string{time.RFC3339, "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
			if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
				return t
			}
		}
		if d, err := time.ParseDuration(text); err == nil {
			return time.Now().Add(d)
		}
	}
	return text
}
