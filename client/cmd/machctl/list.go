package main

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

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
	if err := a.machineList().check(a.options); err != nil {
		return err
	}
	if err := a.connect(ctx); err != nil {
		return err
	}
	draw := func(ctx context.Context) (string, error) {
		machines, err := a.machines(ctx)
		if err != nil {
			return "", err
		}
		return a.machineList().draw(a, machines)
	}
	if a.watching {
		return a.whenChanged(ctx, draw)
	}
	text, err := draw(ctx)
	a.ui.page(text)
	return err
}

// machines asks for no more than is shown, which makes a difference where
// systemd-machined is asked.
func (a *app) machines(ctx context.Context) ([]client.ListedDetail, error) {
	ctx, cancel := a.limit(ctx)
	defer cancel()
	all, err := a.client.Machines(ctx, client.OverviewQuery{Patience: a.timeout.or(listTimeout), Properties: !a.asUsual()})
	if err != nil || a.all {
		return all, err
	}
	return slices.DeleteFunc(all, func(m client.ListedDetail) bool { return strings.HasPrefix(m.Name, ".") }), nil
}

// machineList is what list tells of machines. The table is the stock command's.
func (a *app) machineList() listing[client.ListedDetail] {
	type machine = client.ListedDetail
	l := listing[machine]{what: "machines", stockJSON: func(rows []machine) any { return a.machinesJSON(rows) }}
	l.columns = []column[machine]{
		{key: "name", head: "MACHINE", value: func(m machine) any { return m.Name }, keep: true},
		{key: "class", head: "CLASS", value: func(m machine) any { return m.Class }},
		{key: "service", head: "SERVICE", value: func(m machine) any { return m.Service }},
		{key: "state", head: "STATE", value: func(m machine) any { return string(m.State) }, shown: wide},
		{
			key: "os", head: "OS", value: func(m machine) any { return m.OSRelease["ID"] },
			cell: func(m machine) table.Cell { return cell(m.OSRelease["ID"], m.OSError) },
		},
		{
			key: "version", head: "VERSION", value: func(m machine) any { return m.OSRelease["VERSION_ID"] },
			cell: func(m machine) table.Cell { return cell(m.OSRelease["VERSION_ID"], m.OSError) },
		},
		{key: "unit", head: "UNIT", value: func(m machine) any { return m.Unit }, shown: wide},
		{key: "leader", head: "LEADER", value: func(m machine) any { return unless(m.Leader, 0) }, right: true, shown: wide},
		{key: "since", head: "SINCE", value: func(m machine) any { return m.Since }, shown: asked},
		{
			key: "uptime", head: "UPTIME", value: func(m machine) any { return uptime(m.Since) }, shown: wide,
			cell: func(m machine) table.Cell { return cell(uptimeText(m.Since), nil) },
		},
		{key: "id", head: "ID", value: func(m machine) any { return machineID(m.ID) }, shown: asked},
		{key: "uid", head: "UID", value: func(m machine) any { return m.UID }, shown: asked},
		{key: "root_directory", head: "ROOT", value: func(m machine) any { return m.RootDirectory }, shown: asked},
		{key: "link", head: "LINK", value: func(m machine) any { return m.Link }, shown: asked},
		{key: "zone", head: "ZONE", value: func(m machine) any { return m.Zone }, shown: asked},
		{key: "inward", head: "INWARD", value: func(m machine) any { return m.Inward }, shown: asked},
		{key: "ports", head: "PORTS", value: func(m machine) any { return m.Ports }, shown: wide},
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

func uptimeText(since time.Time) string {
	if since.IsZero() {
		return ""
	}
	return span(time.Since(since))
}

func joinAddresses(addresses []netip.Addr) string {
	return strings.Join(addressTexts(addresses), "\n")
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
