package main

import (
	"os"

	"github.com/spf13/pflag"

	"github.com/machd/machd/client"
	"github.com/machd/machd/client/internal/table"
)

// askOptions say whether somebody is asked before something is lost.
type askOptions struct{ yes bool }

func (o *askOptions) addAskFlags(f *pflag.FlagSet) {
	f.BoolVarP(&o.yes, "yes", "y", false, "Do not ask before something is removed")
}

// A loss is something that will not be there any more.
type loss struct {
	what  string // image, snapshot, settings or enablement
	name  string
	usage uint64 // bytes, client.Unknown if nobody can tell
	note  string
	kept  error // why it would be refused, nil if it would not
}

// lossList is what --dry-run and the question tell.
func lossList() listing[loss] {
	return listing[loss]{
		what: "things to be lost",
		columns: []column[loss]{
			{key: "kind", head: "KIND", value: func(l loss) any { return l.what }},
			{key: "name", head: "NAME", value: func(l loss) any { return l.name }, keep: true},
			{key: "usage", head: "USAGE", value: func(l loss) any { return knownBytes(l.usage) }, right: true, cell: lossUsageCell},
			{key: "note", head: "NOTE", value: func(l loss) any { return noneIfEmpty(l.note) }},
		},
	}
}

func lossUsageCell(l loss) table.Cell {
	if l.usage == client.Unknown {
		return table.Cell{}
	}
	return table.Cell{Text: size(l.usage)}
}

func snapshotUsageCell(s client.Snapshot) table.Cell { return lossUsageCell(loss{usage: s.Usage}) }

// mayLose asks whether something may be lost. With --dry-run it prints what, says
// what would be refused, and all is done. Where nobody sits at a terminal, and
// under the name machinectl, nobody is asked: so scripts go on as they always did.
func (a *app) mayLose(question string, losses []loss) (done bool, err error) {
	if a.dryRun {
		err := printList(a, lossList(), losses)
		for _, l := range losses {
			err = join(err, l.kept)
		}
		return true, err
	}
	if !a.asks() || len(losses) == 0 {
		return false, nil
	}
	for _, l := range losses {
		a.ui.line(lossLine(l))
	}
	if a.ui.ask(question) {
		return false, nil
	}
	return true, errKept
}

// asks reports whether somebody is asked.
func (a *app) asks() bool {
	return !a.yes && !a.stock && isTerminal(os.Stdin) && isTerminal(os.Stderr)
}

func lossLine(l loss) string {
	text := "  " + l.what + " " + l.name
	if l.usage != client.Unknown {
		text += ", " + size(l.usage)
	}
	if l.note != "" {
		text += ": " + l.note
	}
	return text
}
