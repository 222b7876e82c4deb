package launch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/machd/machd/daemon/internal/unit"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// A Failure says how the unit of a machine failed to start. It is a
// machine1.ErrJobFailed, or a machine1.ErrTimeout if it took too long. Its text
// goes to whoever asked: a first line, and then the last log lines.
type Failure struct {
	Unit   string
	Job    string   // how the job ended, "" if it did well
	Run    unit.Run // how the unit did
	Late   string   // what was not there in time, "" if that is not the reason
	Log    []string // the unit's last lines, oldest first
	Forced bool     // the machine was running and was ended, as it was late
}

func (f *Failure) Error() string {
	return strings.Join(append([]string{f.reason()}, f.Log...), "\n")
}

// Is reports whether target is the kind of error that f is.
func (f *Failure) Is(target error) bool {
	if f.Late != "" || f.Job == "timeout" || f.Run.Result == "timeout" {
		return target == machine1.ErrTimeout
	}
	return target == machine1.ErrJobFailed
}

// startLimitHit is the result of a unit that was started too often.
const startLimitHit = "start-limit-hit"

// waitid(2): a process that exited, as opposed to one that was killed.
const cldExited = 1

func (f *Failure) reason() string {
	switch {
	case f.Late != "" && f.Forced:
		return fmt.Sprintf("%s was ended again: %s (wait=%s does not wait for that)", f.Unit, f.Late, machd.WaitRegistered)
	case f.Late != "":
		return fmt.Sprintf("%s was ended again: %s", f.Unit, f.Late)
	case f.Run.Result == startLimitHit:
		return fmt.Sprintf("%s was started too often in a short time; \"systemctl reset-failed %s\" allows it again", f.Unit, f.Unit)
	case f.Job != "" && f.Job != "failed":
		return f.Unit + ": " + jobText(f.Job)
	case f.Run.Result == "":
		return f.Unit + " ended, and PID 1 does not know how"
	case f.Run.Result == "success":
		return f.Unit + " ended before the machine was ready"
	}
	text := fmt.Sprintf("%s failed with result %q", f.Unit, f.Run.Result)
	switch {
	case f.Run.ExitCode == 0:
	case f.Run.ExitCode == cldExited:
		text += fmt.Sprintf(", exit status %d", f.Run.ExitStatus)
	default:
		text += fmt.Sprintf(", killed by signal %d", f.Run.ExitStatus)
	}
	return text
}

func jobText(result string) string {
	switch result {
	case "timeout":
		return "the job took too long"
	case "dependency":
		return "a unit that it needs failed"
	case "canceled":
		return "the job was canceled, as by a stop"
	case "assert":
		return "an assertion of the unit does not hold"
	case "unsupported":
		return "this host does not support such units"
	}
	return fmt.Sprintf("the job ended with result %q", result)
}

// explain makes a Failure of what went wrong with the unit. Other errors are
// returned as they are.
func (s *start) explain(ctx context.Context, cause error) error {
	f := &Failure{Unit: s.plan.Unit}
	var over *overError
	var job jobError
	switch {
	case errors.As(cause, &over):
	case errors.As(cause, &job):
		f.Job = string(job)
	case !isLate(cause):
		return cause
	case !s.record.Asked:
		return machine1.Errorf(machine1.ErrTimeout, "there was no time to start it: %s", cause)
	default:
		f.Late = s.late(cause)
		f.Forced = s.result.State == machd.StateRegistered
	}
	ctx, cancel := context.WithTimeout(ctx, explainLimit)
	defer cancel()
	if run, err := s.l.cfg.Units.LastRun(ctx, s.plan.Unit); err == nil {
		f.Run = run
	} else if over != nil {
		f.Run = over.run
	}
	if f.Job == "failed" && s.plan.Existing && f.Run.Invocation == s.record.Before {
		// PID 1 did not try, and tells how it was when it last did.
		f.Run.Result = startLimitHit
		return f
	}
	f.Log = lastLines(ctx, s.plan.Unit, f.Run, s.record.Since)
	return f
}

func isLate(err error) bool {
	return errors.Is(err, machine1.ErrTimeout) || errors.Is(err, context.DeadlineExceeded)
}

// explainLimit is how long an explanation of a failure may take.
const explainLimit = 10 * time.Second

// late says what was not there in time.
func (s *start) late(cause error) string {
	limit := s.options.WaitTimeout
	if errors.Is(cause, errUnregistered) {
		return cause.Error()
	}
	select {
	case <-s.registered:
		if limit == 0 {
			limit = ReadyLimit
		}
		return fmt.Sprintf("the limit of %s is over: %s", limit, cause)
	default:
	}
	if limit == 0 {
		limit = startLimit
	}
	return fmt.Sprintf("it has not started within %s", limit)
}
