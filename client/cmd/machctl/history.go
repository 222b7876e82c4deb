package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
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
	if a.json() {
		return a.printJSON(pastJSON(past))
	}
	a.ui.print(a.drawList(pastTable(past), "past machines"))
	return nil
}

// journalHint says whom the system's journal is for.
func journalHint(err error) error {
	if !errors.Is(err, machine1.ErrAccessDenied) {
		return err
	}
	return &hintedError{err, "run it as root or as a member of the group systemd-journal"}
}

func pastTable(past []client.PastMachine) *table.Table {
	t := &table.Table{Headers: []string{"MACHINE", "SERVICE", "UID", "SINCE", "UNTIL", "RAN", "END"}}
	for _, m := range past {
		uid, ran := "", ""
		if m.UID != unknownUID {
			uid = strconv.FormatUint(uint64(m.UID), 10)
		}
		if !m.From.IsZero() && !m.To.IsZero() {
			ran = span(m.To.Sub(m.From))
		}
		t.Rows = append(t.Rows, []table.Cell{
			cell(m.Name, nil), cell(m.Service, nil), cell(uid, nil),
			cell(clock(m.From), nil), cell(clock(m.To), nil), cell(ran, nil), endCell(m),
		})
	}
	return t
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

// A pastMachineJSON has null for what is not known, and times in microseconds
// since the epoch.
type pastMachineJSON struct {
	Machine    string  `json:"machine"`
	Class      *string `json:"class"`
	Service    *string `json:"service"`
	Unit       *string `json:"unit"`
	UID        *uint32 `json:"uid"`
	Leader     *uint32 `json:"leader"`
	From       *int64  `json:"from"`
	To         *int64  `json:"to"`
	Result     string  `json:"result"`
	Code       *string `json:"code"`
	Status     *int    `json:"status"`
	Terminated bool    `json:"terminated"`
	Invocation *string `json:"invocation"`
	Boot       string  `json:"boot"`
}

func pastJSON(past []client.PastMachine) []pastMachineJSON {
	rows := []pastMachineJSON{}
	for _, m := range past {
		row := pastMachineJSON{
			Machine: m.Name, Class: orNull(m.Class), Service: orNull(m.Service), Unit: orNull(m.Unit),
			From: usecOf(m.From), To: usecOf(m.To), Result: m.Ending.Result, Code: orNull(m.Ending.Code),
			Terminated: m.Terminated, Invocation: orNull(m.Invocation), Boot: m.Boot,
		}
		if m.UID != unknownUID {
			row.UID = &m.UID
		}
		if m.Leader != 0 {
			row.Leader = &m.Leader
		}
		if m.Ending.Code != "" {
			row.Status = &m.Ending.Status
		}
		rows = append(rows, row)
	}
	return rows
}

func usecOf(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	usec := t.UnixMicro()
	return &usec
}

// events shows what happens to machines, until it is interrupted.
func (a *app) events(ctx context.Context, _ []string) error {
	if err := a.connect(ctx); err != nil {
		return err
	}
	for e, err := range a.client.Watch(ctx) {
		switch {
		case err != nil:
			return err
		case e.Kind == client.Present && !a.all:
			continue
		case a.json():
			err = a.printJSON(eventJSON{time.Now().UnixMicro(), eventWord(e.Kind), e.Name, orNull(e.Unit), orNull(e.Reason)})
		default:
			a.ui.print(fmt.Sprintf("%s %-8s%s\n", clock(time.Now()), eventWord(e.Kind), printable(eventText(e))))
		}
		if err != nil || a.ui.failed != nil {
			return err
		}
	}
	return nil
}

// An eventJSON has its time in microseconds since the epoch.
type eventJSON struct {
	Time    int64   `json:"time"`
	Event   string  `json:"event"`
	Machine string  `json:"machine"`
	Unit    *string `json:"unit,omitempty"`
	Reason  *string `json:"reason,omitempty"`
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
