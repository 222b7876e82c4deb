package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/machd/machd/client"
	"github.com/machd/machd/client/internal/table"
)

// listTransfers shows the transfers that go on. Called as machinectl, those of
// machines.
func (a *app) listTransfers(ctx context.Context, _ []string) error {
	if err := a.connect(ctx); err != nil {
		return err
	}
	ctx, cancel := a.limit(ctx)
	defer cancel()
	class := client.ImageClass(a.class)
	if class == "" && a.stock {
		class = client.ClassMachine
	}
	transfers, err := a.client.Transfers(ctx, class)
	if err != nil {
		return a.transferError(err)
	}
	return printList(a, a.transferList(transfers), transfers)
}

// transferList says what is told of transfers. The numbers of these are aligned
// to the right, below a header that is not, as in the stock command's list.
//
// Reference: importctl.c, list_transfers.
func (a *app) transferList(transfers []client.ListedTransfer) listing[client.ListedTransfer] {
	digits := 0
	if !a.noLegend {
		digits = len("ID")
	}
	for _, t := range transfers {
		digits = max(digits, len(strconv.FormatUint(uint64(t.ID), 10)))
	}
	return listing[client.ListedTransfer]{what: "transfers", columns: []column[client.ListedTransfer]{
		{key: "id", head: "ID", value: func(t client.ListedTransfer) any { return t.ID }, cell: func(t client.ListedTransfer) table.Cell {
			return table.Cell{Text: fmt.Sprintf("%*d", digits, t.ID)}
		}},
		{key: "progress", head: "PROGRESS", right: true, value: func(t client.ListedTransfer) any {
			if t.Progress == client.NoProgress {
				return nil
			}
			return t.Progress
		}, cell: func(t client.ListedTransfer) table.Cell {
			if t.Progress == client.NoProgress {
				return cell("", nil)
			}
			return table.Cell{Text: fmt.Sprintf("%d%%", int(t.Progress*100))}
		}},
		{key: "type", head: "TYPE", value: func(t client.ListedTransfer) any { return t.Type }},
		{key: "class", head: "CLASS", value: func(t client.ListedTransfer) any { return string(t.Class) }},
		{key: "local", head: "LOCAL", value: func(t client.ListedTransfer) any { return t.Local }},
		{key: "remote", head: "REMOTE", value: func(t client.ListedTransfer) any { return t.Remote }},
	}}
}

// cancelTransfer ends transfers.
func (a *app) cancelTransfer(ctx context.Context, args []string) error {
	ids := map[string]uint32{}
	for _, arg := range args {
		id, err := strconv.ParseUint(arg, 10, 32)
		if err != nil || id == 0 {
			return usagef("%q is no number of a transfer", arg)
		}
		ids[arg] = uint32(id)
	}
	if err := a.connectToAct(ctx, client.ActionCancelTransfer); err != nil {
		return err
	}
	ctx, cancel := a.limit(ctx)
	defer cancel()
	return each(args, func(arg string) error {
		return a.transferError(a.client.CancelTransfer(ctx, ids[arg]))
	})
}
