package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/machd/machd/client"
)

// journalTimeout bounds the wait for a journal on a slow disk.
const journalTimeout = 10 * time.Second

// startLines is how many log lines explain a failed start.
const startLines = 5

// journalText returns the last log lines of a machine's unit, after an empty
// line; nothing if there are none or we may not read them.
func (a *app) journalText(ctx context.Context, m client.Machine) string {
	if a.lines == 0 || m.Since.IsZero() {
		return ""
	}
	args := []string{"-b", "-n", strconv.FormatUint(uint64(a.lines), 10), a.unitFlag(), m.Unit,
		"--since", m.Since.Local().Format("2006-01-02 15:04:05")}
	if a.output != "" && a.output != outputWide {
		args = append(args, "-o", a.output)
	}
	if a.full || a.all {
		args = append(args, "--full")
	}
	text := a.journal(ctx, args...)
	if text == "" {
		return ""
	}
	return "\n" + text
}

// startLog returns the last log lines of one start of a unit, oldest first:
// errors if there are any, since a container's console is in the log as well.
func (a *app) startLog(ctx context.Context, e *client.StartError) []string {
	args := []string{"-o", "cat", "-n", strconv.Itoa(startLines)}
	if e.Invocation != "" {
		args = append(args, "_SYSTEMD_INVOCATION_ID="+e.Invocation)
	} else {
		args = append(args, a.unitFlag(), e.Unit)
	}
	text := a.journal(ctx, append([]string{"-p", "err"}, args...)...)
	if text == "" {
		text = a.journal(ctx, args...)
	}
	return strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
}

// journalOutput is the format of log lines that are the result.
func (a *app) journalOutput() string {
	switch {
	case a.jsonOption == "pretty":
		return "json-pretty"
	case a.jsonOption.on():
		return "json"
	case a.output == outputWide:
		return ""
	}
	return a.output
}

// unitFlag is how journalctl is told of a unit.
func (a *app) unitFlag() string {
	if a.user {
		return "--user-unit"
	}
	return "-u"
}

// journal runs journalctl. It is a process, since reading a journal needs a
// library in C; failing is having nothing to tell.
func (a *app) journal(ctx context.Context, args ...string) string {
	switch {
	case a.host.given:
		return "" // that host's journal is not here
	case a.elsewhere():
		args = append([]string{"--machine=" + a.machine.Name}, args...)
	}
	ctx, cancel := context.WithTimeout(ctx, journalTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "journalctl", append([]string{"-q", "--no-pager"}, args...)...)
	cmd.Env = append(os.Environ(), "SYSTEMD_COLORS="+strconv.FormatBool(a.ui.colour))
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		return ""
	}
	return out.String()
}
