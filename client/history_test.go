package client

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// fakeJournal puts a journalctl into the path that shows these entries, and
// writes how it was called to the file it returns.
func fakeJournal(t *testing.T, entries string) (calls string) {
	t.Helper()
	dir := t.TempDir()
	calls = filepath.Join(dir, "calls")
	now, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"entries": strings.ReplaceAll(entries, "NOW", now),
		"journalctl": `#!/bin/sh
echo "$@" >> ` + calls + `
case "$*" in
*--boot=one*) echo '{"__REALTIME_TIMESTAMP":"9000000","_BOOT_ID":"one"}';;
*--boot=two*) echo '{"__REALTIME_TIMESTAMP":"29000000","_BOOT_ID":"two"}';;
*) cat ` + filepath.Join(dir, "entries") + `;;
esac
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return calls
}

func line(pairs ...string) string {
	fields := []string{}
	for i := 0; i < len(pairs); i += 2 {
		fields = append(fields, `"`+pairs[i]+`":"`+pairs[i+1]+`"`)
	}
	return "{" + strings.Join(fields, ",") + "}\n"
}

// began, stopped and ended are what machd writes.
func began(boot, at, name, leader, since string) string {
	return line("MESSAGE_ID", messageMachineStart, "_BOOT_ID", boot, "__REALTIME_TIMESTAMP", at, "NAME", name, "LEADER", leader,
		machd.FieldSince, since, machd.FieldClass, "container", machd.FieldUID, "1000", machd.FieldService, "nspawn", machd.FieldUnit, name+".service")
}

func stopped(boot, at, name, leader, since string) string {
	return strings.Replace(began(boot, at, name, leader, since), messageMachineStart, messageMachineStop, 1)
}

func ended(boot, at, name, leader, since, result, code, status string) string {
	text := strings.Replace(began(boot, at, name, leader, since), messageMachineStart, machd.MessageMachineEnded, 1)
	return strings.Replace(text, "}", `,"`+machd.FieldResult+`":"`+result+`","`+machd.FieldCode+`":"`+code+
		`","`+machd.FieldStatus+`":"`+status+`","`+machd.FieldInvocation+`":"c0ffee"}`, 1)
}

// past is one of the machines that began writes of.
func past(boot, name string, leader uint32, from, to int64, ending machd.Ending) PastMachine {
	m := PastMachine{
		Name: name, Class: "container", Service: "nspawn", Unit: name + ".service", UID: 1000, Leader: leader,
		From: time.UnixMicro(from), Ending: ending, Boot: boot,
	}
	if to != 0 {
		m.To = time.UnixMicro(to)
	}
	return m
}

func TestHistory(t *testing.T) {
	unknown := machd.Ending{Result: machd.EndedUnknown}
	for _, tt := range []struct {
		name    string
		entries string
		want    []PastMachine
	}{
		{"nothing", "", []PastMachine{}},
		{"it ran and ended", began("NOW", "2000000", "web", "11", "1999000") +
			stopped("NOW", "5000000", "web", "11", "1999000") +
			ended("NOW", "5100000", "web", "11", "1999000", "signal", "killed", "9"),
			[]PastMachine{{
				Name: "web", Class: "container", Service: "nspawn", Unit: "web.service", UID: 1000, Leader: 11,
				From: time.UnixMicro(1999000), To: time.UnixMicro(5000000), Ending: machd.Ending{Result: "signal", Code: "killed", Status: 9},
				Invocation: "c0ffee", Boot: "NOW",
			}}},
		{"it runs", began("NOW", "2000000", "web", "11", "1999000"), []PastMachine{}},
		{"it runs, and the daemon was restarted", began("NOW", "2", "web", "11", "1") + began("NOW", "5", "web", "11", "1"), []PastMachine{}},
		{"the daemon was killed before it said how",
			began("NOW", "2", "web", "11", "1") + stopped("NOW", "7", "web", "11", "1"),
			[]PastMachine{past("NOW", "web", 11, 1, 7, unknown)}},
		{"its beginning is forgotten", stopped("NOW", "7", "web", "11", "1"), []PastMachine{past("NOW", "web", 11, 1, 7, unknown)}},
		{"a rush: the next one came before it was said how the first one ended",
			began("NOW", "2", "web", "11", "1") + stopped("NOW", "5", "web", "11", "1") + began("NOW", "6", "web", "12", "6") +
				strings.Replace(ended("NOW", "7", "web", "11", "1", "reboot", "exited", "133"), "c0ffee", "", 1),
			[]PastMachine{past("NOW", "web", 11, 1, 5, machd.Ending{Result: "reboot", Code: "exited", Status: 133})}},
		{"two at once", began("NOW", "2", "a", "11", "1") + began("NOW", "3", "b", "12", "2") + stopped("NOW", "5", "a", "11", "1"),
			[]PastMachine{past("NOW", "a", 11, 1, 5, unknown)}},
		{"nobody saw it end", began("NOW", "2", "web", "11", "1") + began("NOW", "9", "web", "12", "8"),
			[]PastMachine{past("NOW", "web", 11, 1, 0, unknown)}},
		{"the host crashed, and was shut down the next time",
			began("one", "2000000", "web", "11", "1000000") + began("two", "22000000", "web", "11", "21000000") +
				line("MESSAGE_ID", messageUnitStarted, "_BOOT_ID", "two", "UNIT", "shutdown.target") +
				began("NOW", "42000000", "web", "11", "41000000"),
			[]PastMachine{
				past("one", "web", 11, 1000000, 9000000, machd.Ending{Result: machd.EndedHostCrash}),
				past("two", "web", 11, 21000000, 29000000, machd.Ending{Result: machd.EndedHostShutdown}),
			}},
		{"it never came back after the host's crash", began("one", "2000000", "web", "11", "1000000"),
			[]PastMachine{past("one", "web", 11, 1000000, 9000000, machd.Ending{Result: machd.EndedHostCrash})}},
		{"systemd-machined says less",
			line("MESSAGE_ID", messageMachineStart, "_BOOT_ID", "NOW", "__REALTIME_TIMESTAMP", "3", "NAME", "web", "LEADER", "11") +
				line("MESSAGE_ID", messageMachineStop, "_BOOT_ID", "NOW", "__REALTIME_TIMESTAMP", "8", "NAME", "web", "LEADER", "11"),
			[]PastMachine{{Name: "web", UID: ^uint32(0), Leader: 11, From: time.UnixMicro(3), To: time.UnixMicro(8), Ending: unknown, Boot: "NOW"}}},
		{"fields that are no text", `{"MESSAGE_ID":"` + messageMachineStop + `","NAME":["a","b"],"LEADER":[1,2],"_BOOT_ID":"NOW","__REALTIME_TIMESTAMP":"8"}`,
			[]PastMachine{{UID: ^uint32(0), To: time.UnixMicro(8), Ending: unknown, Boot: "NOW"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fakeJournal(t, tt.entries)
			got, err := History(t.Context(), HistoryOptions{})
			if err != nil {
				t.Fatal(err)
			}
			now, err := bootID()
			if err != nil {
				t.Fatal(err)
			}
			for i := range tt.want {
				tt.want[i].Boot = strings.Replace(tt.want[i].Boot, "NOW", now, 1)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Anybody may write entries that look like the daemon's.
func TestHistoryBelievesTheDaemonsOnly(t *testing.T) {
	calls := fakeJournal(t, "")
	for _, o := range []HistoryOptions{{Name: "web", Since: "-1h"}, {User: true}} {
		if _, err := History(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	ids := "MESSAGE_ID=" + messageMachineStart + " MESSAGE_ID=" + messageMachineStop + " MESSAGE_ID=" + machd.MessageMachineEnded
	want := "--quiet --no-pager --output=json --system --since -1h " + ids +
		" _SYSTEMD_UNIT=machd.service _SYSTEMD_UNIT=systemd-machined.service NAME=web + _PID=1 UNIT=shutdown.target MESSAGE_ID=" + messageUnitStarted + "\n" +
		"--quiet --no-pager --output=json --user " + ids + " _SYSTEMD_USER_UNIT=machd.service _SYSTEMD_USER_UNIT=systemd-machined.service\n"
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Error(diff)
	}
}

func TestHistoryWithoutAJournal(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	if _, err := History(context.Background(), HistoryOptions{}); err == nil || !strings.Contains(err.Error(), "cannot read the journal: ") {
		t.Errorf("no journalctl: %v", err)
	}
	script := "#!/bin/sh\necho 'Failed to parse timestamp: never' >&2\necho more >&2\nexit 1\n"
	if err := os.WriteFile(filepath.Join(dir, "journalctl"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
	if _, err := History(context.Background(), HistoryOptions{Since: "never"}); err == nil || err.Error() != "cannot read the journal: Failed to parse timestamp: never" {
		t.Errorf("a wrong time: %v", err)
	}
}

// It is killed then, and how it ended is not what went wrong.
func TestReadingTheJournalEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	for what, script := range map[string]string{
		"before an entry":    "exec sleep 60",
		"behind an entry":    `echo '{"NAME":"web"}'; exec sleep 60`,
		"amidst an entry":    `printf '{"NAME":'; exec sleep 60`,
		"behind a complaint": "echo 'Journal file is truncated' >&2; exec sleep 60",
	} {
		if err := os.WriteFile(filepath.Join(dir, "journalctl"), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		for kind, in := range map[error]func() (context.Context, context.CancelFunc){
			machine1.ErrTimeout: func() (context.Context, context.CancelFunc) {
				return context.WithTimeout(t.Context(), 200*time.Millisecond)
			},
			context.Canceled: func() (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(200*time.Millisecond, cancel)
				return ctx, cancel
			},
		} {
			ctx, cancel := in()
			_, err := History(ctx, HistoryOptions{})
			if !errors.Is(err, kind) || !errors.Is(err, ctx.Err()) {
				t.Errorf("%s: got %v, want %v", what, err, kind)
			}
			cancel()
		}
	}
}
