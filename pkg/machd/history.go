package machd

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// MessageMachineEnded is the MESSAGE_ID of the journal entry that says how a
// machine ended. It comes after the one that systemd-machined writes as well,
// as soon as its end is known.
const MessageMachineEnded = "06e4b91ff16745dbb962bf9eefe451ec"

// Fields that machd's entries about machines have besides those of
// systemd-machined. NAME and MACHINE_SINCE together name one machine for good.
const (
	FieldSince      = "MACHINE_SINCE"      // when it was registered, µs since the epoch
	FieldClass      = "MACHINE_CLASS"      // container or vm
	FieldService    = "MACHINE_SERVICE"    // what its registrant calls itself
	FieldUnit       = "MACHINE_UNIT"       // that its leader was found in
	FieldUID        = "MACHINE_UID"        // of its registrant
	FieldResult     = "MACHINE_RESULT"     // how it ended, see Ending
	FieldCode       = "MACHINE_CODE"       // likewise
	FieldStatus     = "MACHINE_STATUS"     // likewise
	FieldInvocation = "MACHINE_INVOCATION" // of the unit, by which PID 1 knows the log lines of this run
	FieldTerminated = "MACHINE_TERMINATED" // there if machd was asked to end it
)

// An Ending is how a machine ended, as far as that can be told.
type Ending struct {
	Result string // one of the constants, or any other result that PID 1 has for the machine's unit
	Code   string // how its main process ended: "exited", "killed" or "dumped"; "" if that is not known
	Status int    // its exit status or signal
}

// What a Result may be, among others.
const (
	EndedSuccess      = "success"
	EndedExitCode     = "exit-code"
	EndedSignal       = "signal"
	EndedCoreDump     = "core-dump"
	EndedTimeout      = "timeout"
	EndedOOMKill      = "oom-kill"
	EndedReboot       = "reboot"       // it is started again
	EndedUnregistered = "unregistered" // it was forgotten, and may go on
	EndedMissed       = "missed"       // there was no daemon when it ended
	EndedUnknown      = "unknown"

	// Of these no daemon can tell; readers of the journal conclude them.
	EndedHostShutdown = "host-shutdown"
	EndedHostCrash    = "host-crash"
)

// String says it in words, such as "exit status 3" or "timeout, killed by
// SIGKILL".
func (e Ending) String() string {
	how := ""
	switch e.Code {
	case "exited":
		how = fmt.Sprintf("exit status %d", e.Status)
	case "killed":
		how = "killed by " + signalName(e.Status)
	case "dumped":
		how = "core dumped by " + signalName(e.Status)
	}
	switch e.Result {
	case EndedSuccess, EndedExitCode, EndedSignal, EndedCoreDump:
		if how != "" {
			return how
		}
	case EndedReboot:
		return e.Result
	case EndedHostShutdown:
		return "the host was shut down"
	case EndedHostCrash:
		return "the host went down without a shutdown"
	case EndedMissed:
		return "ended while machd was not running"
	case EndedOOMKill:
		return "out of memory"
	}
	words := strings.ReplaceAll(e.Result, "-", " ")
	if how != "" {
		return words + ", " + how
	}
	return words
}

func signalName(number int) string {
	if name := unix.SignalName(unix.Signal(number)); name != "" {
		return name
	}
	return fmt.Sprintf("signal %d", number)
}
