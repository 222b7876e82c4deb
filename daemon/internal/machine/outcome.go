package machine

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machd"
)

const (
	// A parent is told of its child's end at once, but has to fetch the news.
	reapTimeout = time.Second
	reapStep    = 20 * time.Millisecond

	// rebootStatus is what systemd-nspawn and systemd-vmspawn exit with when
	// PID 1 is to start the machine again.
	//
	// Reference: nspawn.c, run_container.
	rebootStatus = 133
)

// codes are the words for the si_code that PID 1 tells.
var codes = map[int32]string{1: "exited", 2: "killed", 3: "dumped"}

// endingOf reads what PID 1 said of the unit of a machine.
func endingOf(u unitEnd) machd.Ending {
	e := machd.Ending{Result: u.result, Code: codes[u.code]}
	if e.Code != "" {
		e.Status = int(u.status)
	}
	if e.Code == "exited" && e.Status == rebootStatus {
		e.Result = machd.EndedReboot
	}
	return e
}

// endingOfLeader reads how the leader ended.
func endingOfLeader(s unix.WaitStatus) machd.Ending {
	switch {
	case s.Exited() && s.ExitStatus() == 0:
		return machd.Ending{Result: machd.EndedSuccess, Code: "exited"}
	case s.Exited():
		return machd.Ending{Result: machd.EndedExitCode, Code: "exited", Status: s.ExitStatus()}
	case s.CoreDump():
		return machd.Ending{Result: machd.EndedCoreDump, Code: "dumped", Status: int(s.Signal())}
	}
	return machd.Ending{Result: machd.EndedSignal, Code: "killed", Status: int(s.Signal())}
}

// tellEnding has the log say how the machine ended that was removed from the
// books, as soon as it is known. end is its unit's. It takes over both that and
// the leader.
func (m *Manager) tellEnding(last Machine, end *awaitedEnd) {
	last.Stopping = last.Stopping || last.life.terminating.Load()
	if alive(last.Leader) {
		last.Leader.Close()
		end.forget()
		m.ended(last, machd.Ending{Result: machd.EndedUnregistered}, "")
		return
	}
	leader := last.Leader
	status, err := leader.WaitStatus()
	if err == nil {
		leader.Close()
	}
	m.work.do(func(ctx context.Context) {
		defer end.forget()
		if err != nil {
			status, err = awaitStatus(ctx, leader)
			leader.Close()
		}
		e, invocation := findEnding(status, err, end.get(ctx))
		if ctx.Err() != nil && e.Result == machd.EndedUnknown {
			return // there was no time to wait for it
		}
		m.ended(last, e, invocation)
	})
}

// findEnding believes PID 1 first: it knows of the supervisor, of time-outs,
// and of who ran out of memory. The leader's status is not told if err is set.
func findEnding(leader unix.WaitStatus, err error, u unitEnd) (e machd.Ending, invocation string) {
	e = endingOf(u)
	switch {
	case e.Result == machd.EndedExitCode && err == nil && leader.Signaled():
		// The supervisor's own status only says that there was a signal.
		return endingOfLeader(leader), u.invocation
	case e.Code != "" || e.Result != "" && e.Result != machd.EndedSuccess:
		return e, u.invocation
	case err == nil:
		return endingOfLeader(leader), u.invocation
	}
	return machd.Ending{Result: machd.EndedUnknown}, u.invocation
}

// awaitStatus waits until the parent of a process that has ended knows.
func awaitStatus(ctx context.Context, p *proc.PIDFD) (unix.WaitStatus, error) {
	for end := time.Now().Add(reapTimeout); ; {
		status, err := p.WaitStatus()
		if !errors.Is(err, proc.ErrNotTold) || errors.Is(err, unix.ENOTTY) || time.Now().After(end) || !pause(ctx, reapStep) {
			return status, err
		}
	}
}

// ended writes the line that the history of machines is made of.
func (m *Manager) ended(last Machine, e machd.Ending, invocation string) {
	fields := append(historyFields(last), "MESSAGE_ID", machd.MessageMachineEnded, machd.FieldResult, e.Result)
	if e.Code != "" {
		fields = append(fields, machd.FieldCode, e.Code, machd.FieldStatus, e.Status)
	}
	if invocation != "" {
		fields = append(fields, machd.FieldInvocation, invocation)
	}
	if last.Stopping {
		fields = append(fields, machd.FieldTerminated, true)
	}
	m.counter.ended(e.Result)
	m.log.Info("Machine "+last.Name+" ended: "+e.String()+".", fields...)
}

// historyFields tell a machine from others of its name, and say whose it is.
func historyFields(m Machine) []any {
	fields := []any{
		"name", m.Name, "leader", m.leader.pid,
		machd.FieldSince, m.Realtime, machd.FieldClass, string(m.Class), machd.FieldUID, m.UID,
	}
	if m.Service != "" {
		fields = append(fields, machd.FieldService, m.Service)
	}
	if m.Unit != "" {
		fields = append(fields, machd.FieldUnit, m.Unit)
	}
	return fields
}
