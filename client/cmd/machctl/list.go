package main

import (
	"context"
	"errors"
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
func (a *app) list(ctx context.Context, _ []string) error {
	if err := a.connect(ctx); err != nil {
		return err
	}
	machines, err := a.machines(ctx)
	if err != nil {
		return err
	}
	details := a.client.Overview(ctx, machines, a.timeout.or(listTimeout))
	return printList(a, a.machineList(), details)
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

// machineList is what list tells of machines. The table is the stock command's.
func (a *app) machineList() listing[client.ListedDetail] {
	type machine = client.ListedDetail
	l := listing[machine]{what: "machines", stockJSON: func(rows []machine) any { return a.machinesJSON(rows) }}
	l.columns = []column[machine]{
		{key: "name", head: "MACHINE", value: func(m machine) any { return m.Name }},
		{key: "class", head: "CLASS", value: func(m machine) any { return m.Class }},
		{key: "service", head: "SERVICE", value: func(m machine) any { return m.Service }},
		{
			key: "os", head: "OS", value: func(m machine) any { return m.OSRelease["ID"] },
			cell: func(m machine) table.Cell { return cell(m.OSRelease["ID"], m.OSError) },
		},
		{
			key: "version", head: "VERSION", value: func(m machine) any { return m.OSRelease["VERSION_ID"] },
			cell: func(m machine) table.Cell { return cell(m.OSRelease["VERSION_ID"], m.OSError) },
		},
		{
			key: "addresses", head: "ADDRESSES", value: func(m machine) any { return addressTexts(m.Addresses) },
			cell: a.addressCell, shown: always,
		},
	}
	if a.maxAddresses.n == 0 {
		l.columns[len(l.columns)-1].shown = asked
	}
	return l
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
	return strings.Join(addressTexts(addresses), "\n")
}

func addressTexts(addresses []netip.Addr) []string {
	texts := make([]string, len(addresses))
	for i, addr := range addresses {
		texts[i] = addr.String()
	}
	return texts
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
