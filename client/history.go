package client

import (
	"context"
	"time"

	"github.com/machd/machd/pkg/machd"
)

// A PastMachine is a machine that has ended. What is not known of it is zero:
// systemd-machined says less in the journal than machd does.
type PastMachine struct {
	Name       string
	Class      string
	Service    string // its registrant's name for itself
	Unit       string
	UID        uint32 // of its registrant; ^0 if unknown
	Leader     uint32
	From, To   time.Time
	Ending     machd.Ending
	Terminated bool   // the daemon was asked to end it
	Invocation string // selects the log lines of its unit, hexadecimal
	Boot       string // in which it ran, hexadecimal
}

// HistoryOptions select past machines.
type HistoryOptions struct {
	Name  string // only those of this name, or ""
	Since string // only those that ended since then, in systemd's syntax for times, or ""
	User  bool   // the user's own machines
}

// History returns the machines that have ended, oldest end first, whoever
// registered them. It is read from the journal, so it goes back as far as that
// does, and needs the right to read the system's journal.
func History(ctx context.Context, o HistoryOptions) ([]PastMachine, error) {
	h := &history{
		scope:   o.scope(),
		running: map[string]*PastMachine{},
		closing: map[string]*PastMachine{},
		orderly: map[string]bool{},
	}
	for entry, err := range journal(ctx, o.arguments()...) {
		if err != nil {
			return nil, err
		}
		h.take(entry)
	}
	if err := h.endWithHost(ctx); err != nil {
		return nil, err
	}
	past := make([]PastMachine, 0, len(h.ended))
	for _, m := range h.ended {
		past = append(past, *m)
	}
	return past, nil
}

// Entries of systemd's that matter here. Reference: sd-messages.h.
const (
	messageMachineStart = "24d8d4452573402496068381a6312df2"
	messageMachineStop  = "58432bd3bace477cb514b56381b8a758"
	messageUnitStarted  = "39f53479d3a045ac8e11786248231fbf"
)

// scope says whose journal it is.
func (o HistoryOptions) scope() string {
	if o.User {
		return "--user"
	}
	return "--system"
}

// arguments select the daemons' entries. Anybody may write such entries, so the
// fields that the journal itself adds decide.
func (o HistoryOptions) arguments() []string {
	unit, args := "_SYSTEMD_UNIT", []string{o.scope()}
	if o.User {
		unit = "_SYSTEMD_USER_UNIT"
	}
	if o.Since != "" {
		args = append(args, "--since", o.Since)
	}
	args = append(args,
		"MESSAGE_ID="+messageMachineStart, "MESSAGE_ID="+messageMachineStop, "MESSAGE_ID="+machd.MessageMachineEnded,
		unit+"=machd.service", unit+"=systemd-machined.service")
	if o.Name != "" {
		args = append(args, "NAME="+o.Name)
	}
	if !o.User {
		args = append(args, "+", "_PID=1", "UNIT=shutdown.target", "MESSAGE_ID="+messageUnitStarted)
	}
	return args
}

// history makes machines of entries, which come in order.
type history struct {
	scope   string                  // of the journal
	running map[string]*PastMachine // by name, as far as has been read
	closing map[string]*PastMachine // the last of each name that ended
	orderly map[string]bool         // boots that ended with a shutdown
	ended   []*PastMachine
	down    []*PastMachine // that ran when their boot ended
}

func (h *history) take(e journalEntry) {
	switch e["MESSAGE_ID"] {
	case messageMachineStart:
		h.start(e)
	case messageMachineStop:
		h.stop(e)
	case machd.MessageMachineEnded:
		h.end(e)
	case messageUnitStarted:
		h.orderly[e["_BOOT_ID"]] = true
	}
}

// start takes note of a machine that begins, or that a daemon has found when it
// was started.
func (h *history) start(e journalEntry) {
	m := machineOfEntry(e)
	before := h.running[m.Name]
	h.running[m.Name] = m
	if before == nil {
		return
	}
	if sameMachine(before, m) {
		m.From = before.From
		return
	}
	h.lost(before, m.Boot)
}

func (h *history) stop(e journalEntry) {
	m := h.running[e["NAME"]]
	delete(h.running, e["NAME"])
	if last := machineOfEntry(e); m == nil || !sameMachine(m, last) {
		if m != nil {
			h.lost(m, last.Boot)
		}
		m = last
		if e[machd.FieldSince] == "" {
			m.From = time.Time{}
		}
	}
	m.To = e.when()
	m.Ending.Result = machd.EndedUnknown
	h.closing[m.Name] = m
	h.ended = append(h.ended, m)
}

// end completes the machine that stop was told of.
func (h *history) end(e journalEntry) {
	m := h.closing[e["NAME"]]
	if last := machineOfEntry(e); m == nil || !sameMachine(m, last) {
		m = last
		m.To = e.when()
		h.ended = append(h.ended, m)
	}
	delete(h.closing, m.Name)
	m.Ending = machd.Ending{Result: e[machd.FieldResult], Code: e[machd.FieldCode], Status: int(e.number(machd.FieldStatus))}
	m.Invocation = e[machd.FieldInvocation]
	m.Terminated = e[machd.FieldTerminated] != ""
}

// lost has a machine ended of which nobody said so before another of its name
// was seen in the boot now.
func (h *history) lost(m *PastMachine, now string) {
	if m.Boot != now {
		h.down = append(h.down, m)
		return
	}
	m.Ending.Result = machd.EndedUnknown
	h.ended = append(h.ended, m)
}

// machineOfEntry reads what all of the daemons' entries have.
func machineOfEntry(e journalEntry) *PastMachine {
	m := &PastMachine{
		Name: e["NAME"], Class: e[machd.FieldClass], Service: e[machd.FieldService], Unit: e[machd.FieldUnit],
		UID: ^uint32(0), Leader: uint32(e.number("LEADER")), From: timeOf(e.number(machd.FieldSince)), Boot: e["_BOOT_ID"],
	}
	if e[machd.FieldUID] != "" {
		m.UID = uint32(e.number(machd.FieldUID))
	}
	if m.From.IsZero() {
		m.From = e.when()
	}
	return m
}

// sameMachine reports whether two entries about one name are about one machine:
// a machine does not outlive its boot, and has one leader.
func sameMachine(a, b *PastMachine) bool {
	return a.Boot == b.Boot && (a.Leader == b.Leader || a.From.Equal(b.From))
}
