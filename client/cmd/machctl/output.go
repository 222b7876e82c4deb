package main

// Lists: one table of columns a list says what its table, its JSON, --columns,
// --sort, --filter and --format show.

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"text/template"
	"time"

	"github.com/machd/machd/client/internal/table"
)

// listOptions are the options of verbs that print a list, objectOptions those
// of verbs that print one thing, or one for each name.
const (
	objectOptions = "json format output no-pager "
	listOptions   = objectOptions + "columns sort filter no-legend "
)

// shown says when a column is in the table. In JSON all columns are.
type shown int

const (
	always   shown = iota
	wide           // with --output=wide
	asked          // when --columns names it
	inObject       // never: it is a key of one thing, which has no table
)

// A column is one thing that a list says of each T.
type column[T any] struct {
	key   string             // in JSON, --columns, --sort, --filter and --format
	head  string             // of the table
	value func(T) any        // string, bool, number, time.Time, time.Duration, []string, or nil if unknown
	cell  func(T) table.Cell // nil is what cellOf makes of the value
	right bool
	keep  bool // it is what the row is about, so it is narrowed last
	shown shown
}

// A listing is a list before it has rows.
type listing[T any] struct {
	what    string // it lists, for the footer
	columns []column[T]

	// stockJSON returns what --output=json prints as the stock command does,
	// and is nil where that is the JSON of --json.
	stockJSON func([]T) any
}

// check refuses a choice of what is not there, before anybody is asked.
func (l listing[T]) check(o *options) error {
	_, err := l.choose(o, nil)
	return err
}

// printList prints rows in the way that the options ask for.
func printList[T any](a *app, l listing[T], rows []T) error {
	text, err := l.draw(a, rows)
	if err == nil {
		a.ui.page(text)
	}
	return err
}

// draw returns what printList prints.
func (l listing[T]) draw(a *app, rows []T) (string, error) {
	rows, err := l.choose(a.options, rows)
	if err != nil {
		return "", err
	}
	switch {
	case a.format != "":
		objects := make([]object, len(rows))
		for i, row := range rows {
			objects[i] = l.object(row)
		}
		return a.formatted(objects)
	case a.stockJSON() && l.stockJSON != nil:
		return a.encodeJSON(l.stockJSON(rows))
	case a.json(), a.stockJSON():
		if l.columns, err = l.inJSON(a.options); err != nil {
			return "", err
		}
		objects := make([]object, len(rows))
		for i, row := range rows {
			objects[i] = l.object(row)
		}
		return a.encodeJSON(objects)
	}
	t, err := l.table(a, rows)
	if err != nil {
		return "", err
	}
	return a.drawList(t, l.what), nil
}

// inJSON are the columns that JSON has: all, or those that were asked for.
func (l listing[T]) inJSON(o *options) ([]column[T], error) {
	if len(o.columns) == 0 || strings.HasPrefix(o.columns[0], "+") {
		return l.columns, nil
	}
	return l.visible(o)
}

func (l listing[T]) object(row T) object {
	o := make(object, len(l.columns))
	for i, c := range l.columns {
		o[i] = field{c.key, jsonValue(c.value(row))}
	}
	return o
}

func (l listing[T]) table(a *app, rows []T) (*table.Table, error) {
	columns, err := l.visible(a.options)
	if err != nil {
		return nil, err
	}
	t := &table.Table{}
	for _, c := range columns {
		t.Headers = append(t.Headers, c.head)
		t.Right = append(t.Right, c.right)
		t.Keep = append(t.Keep, c.keep && !a.stock)
	}
	for _, row := range rows {
		cells := make([]table.Cell, len(columns))
		for i, c := range columns {
			if c.cell != nil {
				cells[i] = c.cell(row)
			} else {
				cells[i] = cellOf(c.value(row))
			}
		}
		t.Rows = append(t.Rows, cells)
	}
	return t, nil
}

// cellOf is how a value looks in a table.
func cellOf(value any) table.Cell {
	switch v := value.(type) {
	case nil:
	case string:
		return cell(v, nil)
	case bool:
		return table.Cell{Text: yesOrNo(v)}
	case time.Time:
		return cell(timestamp(v), nil)
	case time.Duration:
		return table.Cell{Text: span(v)}
	case []string:
		return cell(strings.Join(v, " "), nil)
	default:
		return cell(fmt.Sprint(v), nil)
	}
	return cell("", nil)
}

func yesOrNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// drawList draws a table with the footer that lists have.
func (a *app) drawList(t *table.Table, what string) string {
	l := table.Layout{Width: a.ui.width, Header: !a.noLegend && len(t.Rows) > 0, Colour: a.ui.colour, Ellipsis: a.ui.ellipsis}
	if a.full {
		l.Width = 0
	}
	text := t.Draw(l)
	switch {
	case a.noLegend:
		return text
	case len(t.Rows) == 0:
		return fmt.Sprintf("No %s.\n", what)
	}
	if len(t.Rows) == 1 && !a.stock {
		what = singular(what)
	}
	return fmt.Sprintf("%s\n%d %s listed.\n", text, len(t.Rows), what)
}

// singular is the name of one of the things that a list has.
func singular(things string) string {
	if rest, ok := strings.CutPrefix(things, "things"); ok {
		return "thing" + rest
	}
	return strings.TrimSuffix(things, "s")
}

// printObjects prints one object a name in the way of --json or --format, and
// reports whether one of them was asked for.
func (a *app) printObjects(objects []object) (bool, error) {
	if !a.structured() {
		return false, nil
	}
	text, err := a.drawObjects(objects)
	if err == nil {
		a.ui.page(text)
	}
	return true, err
}

func (a *app) drawObjects(objects []object) (string, error) {
	if a.format != "" {
		return a.formatted(objects)
	}
	if objects == nil {
		objects = []object{}
	}
	return a.encodeJSON(objects)
}

// formatFunctions are what --format knows besides Go's own.
var formatFunctions = template.FuncMap{
	"json": func(v any) (string, error) {
		text, err := json.Marshal(v)
		return string(text), err
	},
	"join":  joinAny,
	"upper": strings.ToUpper,
	"lower": strings.ToLower,
}

func joinAny(separator string, list any) string {
	words, ok := list.([]string)
	if !ok {
		return fmt.Sprint(list)
	}
	return strings.Join(words, separator)
}

// templateFault is what the error of a template says, but for its place in a file.
// Patterns that are seldom needed are not made ready at each start.
func templateFault(err error) string {
	place := regexp.MustCompile(`^template: [^ ]+: (executing "[^"]*" )?`)
	key := regexp.MustCompile(`.*map has no entry for key (".*")$`)
	return key.ReplaceAllString(place.ReplaceAllString(err.Error(), ""), "there is no $1")
}

// formatted executes the template of --format for each object, a line each.
func (a *app) formatted(objects []object) (string, error) {
	format := strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(a.format)
	t, err := template.New("--format").Option("missingkey=error").Funcs(formatFunctions).Parse(format)
	if err != nil {
		return "", usagef("--format: %q is no template: %s", format, templateFault(err))
	}
	var b strings.Builder
	for _, o := range objects {
		if err := t.Execute(&b, o.values()); err != nil {
			return "", usagef("--format: %s; there are %s", templateFault(err), strings.Join(o.keys(), ", "))
		}
		b.WriteByte('\n')
	}
	return b.String(), nil
}
