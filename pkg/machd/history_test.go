package machd

import "testing"

func TestEndingsInWords(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		ending Ending
		want   string
	}{
		{Ending{EndedSuccess, "exited", 0}, "exit status 0"},
		{Ending{EndedExitCode, "exited", 3}, "exit status 3"},
		{Ending{EndedSignal, "killed", 9}, "killed by SIGKILL"},
		{Ending{EndedSignal, "killed", 40}, "killed by signal 40"},
		{Ending{EndedCoreDump, "dumped", 11}, "core dumped by SIGSEGV"},
		{Ending{EndedTimeout, "killed", 9}, "timeout, killed by SIGKILL"},
		{Ending{EndedTimeout, "", 0}, "timeout"},
		{Ending{EndedOOMKill, "killed", 9}, "out of memory"},
		{Ending{EndedReboot, "exited", 133}, "reboot"},
		{Ending{EndedUnregistered, "", 0}, "unregistered"},
		{Ending{EndedMissed, "", 0}, "ended while machd was not running"},
		{Ending{"start-limit-hit", "", 0}, "start limit hit"},
		{Ending{EndedSuccess, "", 0}, "success"},
	} {
		if got := tt.ending.String(); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.ending, got, tt.want)
		}
	}
}
