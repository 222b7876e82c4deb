package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/machd/machd/client"
	"github.com/machd/machd/client/internal/table"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// history shows the machines that have ended.
func (a *app) history(ctx context.Context, args []string) error {
	if err := checkNames(args, machine1.ValidMachineName); err != nil {
		return err
	}
	o := client.HistoryOptions{Since: a.since, User: a.user}
	if len(args) > 0 {
		o.Name = args[0]
	}
	past, err := client.History(ctx, o)
	if err != nil {
		return journalHint(err)
	}
	if a.linesGiven && len(past) > int(a.lines) {
		past = past[len(past)-int(a.lines):]
	}
	return printList(a, pastList(), past)
}

// journalHint says whom the system's journal is for.
func journalHint(err error) error {
	if !errors.Is(err, machine1.ErrAccessDenied) {
		return err
	}
	return &hintedError{err, "run it as root or as a member of the group systemd-journal"}
}

func pastList() listing[client.PastMachine] {
	type past = client.PastMachine
	return listing[past]{what: "past machines", columns: []column[past]{
		{key: "machine", head: "MACHINE", value: func(m past) any { return m.Name }, keep: true},
		{key: "class", head: "CLASS", value: func(m past) any { return m.Class }, shown: wide},
		{key: "service", head: "SERVICE", value: func(m past) any { return m.Service }},
		{key: "unit", head: "UNIT", value: func(m past) any { return m.Unit }, shown: wide},
		{key: "uid", head: "UID", value: func(m past) any { return unless(m.UID, unknownUID) }},
		{key: "leader", head: "LEADER", value: func(m past) any { return unless(m.Leader, 0) }, shown: wide},
		{key: "from", head: "SINCE", value: func(m past) any { return m.From }, cell: func(m past) table.Cell { return cell(clock(m.From), nil) }},
		{key: "to", head: "UNTIL", value: func(m past) any { return m.To }, cell: func(m past) table.Cell { return cell(clock(m.To), nil) }},
		{key: "ran", head: "RAN", value: ran},
		{key: "result", head: "END", value: func(m past) any { return m.Ending.Result }, cell: endCell},
		{key: "code", head: "CODE", value: func(m past) any { return m.Ending.Code }, shown: asked},
		{key: "status", head: "STATUS", value: exitStatus, shown: asked},
		{key: "terminated", head: "TERMINATED", value: func(m past) any { return m.Terminated }, shown: asked},
		{key: "invocation", head: "INVOCATION", value: func(m past) any { return m.Invocation }, shown: asked},
		{key: "boot", head: "BOOT", value: func(m past) any { return m.Boot }, shown: asked},
	}}
}

// unless is n as a column's value, where unknown stands for none.
func unless(n, unknown uint32) any {
	if n == unknown {
		return nil
	}
	return n
}

func ran(m client.PastMachine) any {
	if m.From.IsZero() || m.To.IsZero() {
		return nil
	}
	return m.To.Sub(m.From)
}

func exitStatus(m client.PastMachine) any {
	if m.Ending.Code == "" {
		return nil
	}
	return m.Ending.Status
}

// unknownUID is the UID of a registrant that nobody told.
const unknownUID = ^uint32(0)

func endCell(m client.PastMachine) table.Cell {
	c := cell(m.Ending.String(), nil)
	switch m.Ending.Result {
	case machd.EndedSuccess, machd.EndedReboot, machd.EndedUnregistered, machd.EndedHostShutdown:
	default:
		c.Style = styleRed
	}
	if m.Terminated {
		c.Text += ", terminated"
	}
	return c
}

// clock writes t in the way of logs.
func clock(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// events shows what happens to machines, until it is interrupted.
func (a *app) events(ctx context.Context, _ []string) error {
	// A template that is none is told before anything happens.
	if _, err := a.drawEvent(client.Event{}); err != nil {
		return err
	}
	if err := a.connect(ctx); err != nil {
		return err
	}
	for e, err := range a.client.Watch(ctx) {
		switch {
		case err != nil:
			return err
		case e.Kind == client.Present && !a.all:
			continue
		}
		text, err := a.drawEvent(e)
		a.ui.print(text)
		if err != nil || a.ui.failed != nil {
			return err
		}
	}
	return nil
}

func (a *app) drawEvent(e client.Event) (string, error) {
	switch {
	case a.format != "":
		return a.formatted([]object{eventObject(e)})
	case a.json():
		return a.encodeJSON(eventObject(e))
	}
	return fmt.Sprintf("%s %-8s%s\n", clock(time.Now()), eventWord(e.Kind), printable(eventText(e))), nil
}

func eventObject(e client.Event) object {
	return object{
		{"time", jsonValue(time.Now())}, {"event", eventWord(e.Kind)}, {"machine", e.Name},
		{"unit", jsonValue(e.Unit)}, {"reason", jsonValue(e.Reason)},
	}
}

func eventWord(k client.EventKind) string {
	if k == client.Added {
		return "new"
	}
	return k.String()
}

func eventText(e client.Event) string {
	if e.Reason == "" {
		return e.Name
	}
	return e.Name + ": " + e.Reason
}
