package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

const doctorHelp = `doctor looks at links, addresses, routes, rules and ports of a machine as they are,
or without NAME at the host and at all machines, at what ended ones have left, and
at what starts with the host and has no image. It sends packets where nothing else
tells. For each thing that is wrong it says what that is, why, and which command
mends it; with --fix it does itself what can do no harm. --quiet leaves out what is
well.

It exits with 0 only if all is well, or was mended.`

// doctorTimeout is how long a diagnosis may take, twice what the daemon takes at
// most: with --fix it looks again.
const doctorTimeout = time.Minute

// doctor looks for what is wrong, be it that there is nobody to ask.
func (a *app) doctor(ctx context.Context, args []string) error {
	name := ""
	if len(args) > 0 {
		name = args[0]
		if err := checkNames(args, machine1.ValidLookupName); err != nil {
			return err
		}
	}
	findings, err := a.diagnose(ctx, name)
	if err != nil {
		return err
	}
	if a.structured() {
		err = printList(a, findingList, findings)
	} else {
		a.ui.page(a.drawFindings(findings))
	}
	if err == nil && !well(findings) {
		return statusError(exitFailure)
	}
	return err
}

// diagnose asks machd. That it cannot be asked is a finding, too.
func (a *app) diagnose(ctx context.Context, name string) ([]machd.Finding, error) {
	if err := a.connectToAct(ctx, machd.ActionManageNetwork); err != nil {
		if a.client != nil || !errors.Is(err, machine1.ErrDisconnected) {
			return nil, err
		}
		return []machd.Finding{{
			Check: "bus", Level: machd.LevelError, What: "the bus cannot be reached", Why: err.Error(),
			Command: a.scoped("systemctl start dbus.socket"),
		}}, nil
	}
	if finding := a.whoAnswers(ctx); finding != nil {
		return append([]machd.Finding{*finding}, a.leftNetworks()...), nil
	}
	limit := doctorTimeout
	if a.agent != nil {
		limit = personTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, a.timeout.or(limit))
	defer cancel()
	return a.client.Diagnose(ctx, name, machd.DiagnoseOptions{Fix: a.fix})
}

// whoAnswers returns what is wrong with the daemon, or nil.
func (a *app) whoAnswers(ctx context.Context) *machd.Finding {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	ours, err := a.client.IsMachd(ctx)
	finding := &machd.Finding{Check: "daemon", Level: machd.LevelError}
	switch {
	case err == nil && ours, errors.Is(err, machine1.ErrAccessDenied):
		return nil
	case err == nil:
		finding.What = "the machine manager is systemd-machined, which sets up no networks and diagnoses nothing"
		finding.Why = "machd is not enabled, or a systemd-machined that ran before it was not replaced."
		finding.Command = a.scoped("systemctl enable machd") + " && " + a.scoped("systemctl restart machd.socket machd.service")
	case errors.Is(err, machine1.ErrTimeout):
		finding.What = "the machine manager does not answer"
		finding.Why = "It hangs, or the host is busy beyond measure. Machines go on without it."
		finding.Command = a.scoped("systemctl restart machd.service")
	default:
		finding.What = "the machine manager cannot be reached"
		finding.Why = err.Error()
		finding.Command = a.scoped("systemctl restart machd.socket machd.service")
	}
	return finding
}

// networkRecords is where machd writes down what it sets up of networks.
const networkRecords = "/run/machd/network"

// leftNetworks tells of what a machd that is no more has set up of networks, which
// goes with no machine then.
func (a *app) leftNetworks() []machd.Finding {
	if a.user || a.elsewhere() || !anyNetwork(networkRecords) {
		return nil
	}
	program := "/usr/libexec/machd"
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(filepath.Dir(self)), "libexec/machd")
		if _, err := os.Stat(beside); err == nil {
			program = beside
		}
	}
	return []machd.Finding{{
		Check: "leftover", Level: machd.LevelWarning, What: "what machd has set up of machines' networks is still there",
		Why:     "Their ports lead nowhere once they have ended, also for programs of the host; machines that run lose their ports and their way out by this.",
		Command: program + " --release-network",
	}}
}

// anyNetwork reports whether records say that networks, or switches of the
// kernel's, are not as they were.
func anyNetwork(records string) bool {
	entries, _ := os.ReadDir(records)
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		return e.Name() == "switches" || !strings.HasPrefix(e.Name(), ".") && strings.HasSuffix(e.Name(), ".json")
	})
}

// well reports whether nothing is left to do.
func well(findings []machd.Finding) bool {
	for _, f := range findings {
		if f.Level != machd.LevelOK && !f.Fixed {
			return false
		}
	}
	return true
}

// drawFindings draws one after the other, and a line that sums them up.
func (a *app) drawFindings(findings []machd.Finding) string {
	var b strings.Builder
	count := map[string]int{}
	safe := false
	for _, f := range findings {
		level := f.Level
		if f.Fixed {
			level = "fixed"
		}
		count[level]++
		safe = safe || f.Safe && !f.Fixed
		if a.quiet && level == machd.LevelOK {
			continue
		}
		subject := f.Subject
		if subject == "" {
			subject = "host"
		}
		fmt.Fprintf(&b, "%s %s: %s: %s\n", a.drawLevel(level), printable(subject), printable(f.Check), printable(f.What))
		if f.Why != "" {
			fmt.Fprintf(&b, "%8s %s\n", "", printable(f.Why))
		}
		if f.Command != "" && !f.Fixed {
			fmt.Fprintf(&b, "%8s $ %s\n", "", printable(f.Command))
		}
	}
	if !a.noLegend {
		b.WriteString(a.sumUp(count, safe, b.Len() > 0))
	}
	return b.String()
}

func (a *app) drawLevel(level string) string {
	text := fmt.Sprintf("%-8s", level)
	switch level {
	case machd.LevelError:
		return a.ui.styled(text, styleRed)
	case machd.LevelWarning:
		return a.ui.styled(text, styleBlue)
	}
	return text
}

func (a *app) sumUp(count map[string]int, safe, apart bool) string {
	var parts []string
	for _, level := range []struct{ name, one, more string }{
		{machd.LevelError, "error", "errors"}, {machd.LevelWarning, "warning", "warnings"}, {"fixed", "fixed", "fixed"},
	} {
		switch n := count[level.name]; {
		case n == 1:
			parts = append(parts, "1 "+level.one)
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d %s", n, level.more))
		}
	}
	text := "All is well.\n"
	if len(parts) > 0 {
		text = strings.Join(parts, ", ") + ".\n"
	}
	if safe {
		text += "Some of it --fix can do.\n"
	}
	if apart {
		text = "\n" + text
	}
	return text
}

// findingList is what JSON has of the findings. A subject of null is the host.
var findingList = listing[machd.Finding]{what: "findings", columns: []column[machd.Finding]{
	{key: "check", head: "CHECK", value: func(f machd.Finding) any { return f.Check }},
	{key: "subject", head: "SUBJECT", value: func(f machd.Finding) any { return f.Subject }},
	{key: "level", head: "LEVEL", value: func(f machd.Finding) any { return f.Level }},
	{key: "what", head: "WHAT", value: func(f machd.Finding) any { return f.What }},
	{key: "why", head: "WHY", value: func(f machd.Finding) any { return f.Why }, shown: wide},
	{key: "command", head: "COMMAND", value: func(f machd.Finding) any { return f.Command }, shown: wide},
	{key: "safe", head: "SAFE", value: func(f machd.Finding) any { return f.Safe }, shown: asked},
	{key: "fixed", head: "FIXED", value: func(f machd.Finding) any { return f.Fixed }, shown: asked},
}}
