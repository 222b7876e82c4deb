package machd

// What ended a machine that was to be stopped.
const (
	StopPowerOff = "poweroff" // its init, which was asked to
	StopUnit     = "stop"     // the end of its unit, or of what runs it
	StopKill     = "kill"     // SIGKILL
	StopGone     = "gone"     // itself: it was not there any more
)
