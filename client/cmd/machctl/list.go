package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/machd/machd/client"
	"github.com/machd/machd/client/internal/table"
	"github.com/machd/machd/pkg/machine1"
)

const (
	cellEmpty  = "-" // there is none
	cellSilent = "?" // the machine did not say in time
)

// list shows the machines that run.
func (a *app) list(ctx context.Context) error {
	if err := a.connect(ctx); err != nil {
		return err
	}
	machines, err := a.machines(ctx)
	if err != nil {
		return err
	}
	details := a.client.Overview(ctx, machines, a.timeout.or(listTimeout))
	if a.json() {
		return a.printJSON(a.machinesJSON(details))
	}
	a.ui.print(a.drawList(a.machinesTable(details), "machines"))
	return nil
}

func (a *app) machines(ctx context.Context) ([]machine1.ListedMachine, error) {
	ctx, cancel := a.limit(ctx)
	defer cancel()
	all, err := a.client.List(ctx)
	if err != nil || a.all {
		return all, err
	}
	var visible []machine1.ListedMachine
	for _, m := range all {
		if !strings.HasPrefix(m.Name, ".") {
			visible = append(visible, m)
		}
	}
	return visible, nil
}

func (a *app) machinesTable(details []client.ListedDetail) *table.Table {
	t := &table.Table{Headers: []string{"MACHINE", "CLASS", "SERVICE", "OS", "VERSION"}}
	if a.maxAddresses.n != 0 {
		t.Headers = append(t.Headers, "ADDRESSES")
	}
	for _, d := range details {
		row := []table.Cell{
			cell(d.Name, nil), cell(d.Class, nil), cell(d.Service, nil),
			cell(d.OSRelease["ID"], d.OSError), cell(d.OSRelease["VERSION_ID"], d.OSError),
		}
		if a.maxAddresses.n != 0 {
			row = append(row, a.addressCell(d))
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

func cell(text string, err error) table.Cell {
	switch {
	case errors.Is(err, machine1.ErrTimeout):
		return table.Cell{Text: cellSilent, Style: styleRed}
	case text == "":
		return table.Cell{Text: cellEmpty, Style: styleGrey}
	}
	return table.Cell{Text: printable(text)}
}

func (a *app) addressCell(d client.ListedDetail) table.Cell {
	shown := d.Addresses
	more := ""
	if limit := a.maxAddresses.n; limit > 0 && len(shown) > limit && !a.full {
		shown = shown[:limit]
		more = a.ui.ellipsis
	}
	c := cell("", d.AddressError)
	if len(shown) > 0 {
		c = table.Cell{Text: joinAddresses(shown) + more}
	}
	return c
}

func joinAddresses(addresses []netip.Addr) string {
	texts := make([]string, len(addresses))
	for i, addr := range addresses {
		texts[i] = addr.String()
	}
	return strings.Join(texts, "\n")
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
	return fmt.Sprintf("%s\n%d %s listed.\n", text, len(t.Rows), what)
}

// A machineJSON has exactly the fields of the reference, null where a cell is
// empty.
type machineJSON struct {
	Machine   string   `json:"machine"`
	Class     *string  `json:"class"`
	Service   *string  `json:"service"`
	OS        *string  `json:"os"`
	Version   *string  `json:"version"`
	Addresses **string `json:"addresses,omitempty"`
}

func (a *app) machinesJSON(details []client.ListedDetail) []machineJSON {
	rows := []machineJSON{}
	for _, d := range details {
		row := machineJSON{
			Machine: d.Name, Class: orNull(d.Class), Service: orNull(d.Service),
			OS: orNull(d.OSRelease["ID"]), Version: orNull(d.OSRelease["VERSION_ID"]),
		}
		if a.maxAddresses.n != 0 {
			addresses := orNull(joinAddresses(d.Addresses))
			row.Addresses = &addresses
		}
		rows = append(rows, row)
	}
	return rows
}

func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

func (a *app) printJSON(value any) error {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if a.output == "json-pretty" {
		encoder.SetIndent("", "\t")
	}
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("cannot write JSON: %w", err)
	}
	a.ui.print(b.String())
	return nil
}
