package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/machd/machd/client"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// processIndent is how far a process tree stands from the left, processMargin is
// what it leaves of the width of a terminal, and leastTree how many lines it has
// on the lowest one.
const (
	processIndent = "\t\t  "
	processMargin = 18
	leastTree     = 5
)

// status shows each machine as a block for people.
func (a *app) status(ctx context.Context, names []string) error {
	if err := a.connect(ctx); err != nil {
		return err
	}
	if a.watching {
		return a.whenChanged(ctx, func(ctx context.Context) (string, error) { return a.statusOf(ctx, names) })
	}
	text, err := a.statusOf(ctx, names)
	a.ui.page(text)
	return err
}

func (a *app) statusOf(ctx context.Context, names []string) (string, error) {
	reports, err := gather(a, names, func(name string) (*report, error) {
		ctx, cancel := a.limit(ctx)
		defer cancel()
		return a.report(ctx, name)
	})
	if a.structured() {
		objects := make([]object, len(reports))
		for i, r := range reports {
			objects[i] = r.object()
		}
		text, encodeErr := a.drawObjects(objects)
		return text, join(err, encodeErr)
	}
	blocks := make([]string, len(reports))
	for i, r := range reports {
		blocks[i] = a.statusText(r)
	}
	return strings.Join(blocks, "\n"), err
}

// A block is lines of right-aligned labels and values.
type block struct{ strings.Builder }

func (b *block) row(label, value string) {
	if len(label) > 8 {
		// It begins before the first tab stop.
		fmt.Fprintf(b, "%16s: %s\n", label, printable(value))
		return
	}
	fmt.Fprintf(b, "\t%8s: %s\n", label, printable(value))
}

func (a *app) statusText(r *report) string {
	b := &block{}
	b.WriteString(printable(r.Name))
	if id := machineID(r.ID); id != "" {
		b.WriteString("(" + id + ")")
	}
	b.WriteString("\n")
	if r.State == machd.StatePaused {
		b.row("State", fmt.Sprintf("paused; \"machctl resume %s\" has it go on", r.Name))
	}
	a.identityRows(b, r.Machine)
	insideRows(b, r)
	if !a.stock {
		usageRow(b, r.usage)
		networkRows(b, r)
	}
	if r.Unit != "" {
		b.row("Unit", r.Unit)
		if r.Subgroup != "" && r.Subgroup != "/" {
			b.row("Subgroup", r.Subgroup)
		}
		b.WriteString(a.processTree(r, strings.Count(b.String()+r.log, "\n")))
		b.WriteString(r.log)
	}
	return b.String()
}

func (a *app) identityRows(b *block, m client.Machine) {
	if !m.Since.IsZero() {
		b.row("Since", timestamp(m.Since)+"; "+ago(m.Since, time.Now()))
	}
	if m.Leader > 0 {
		b.row("Leader", strconv.FormatUint(uint64(m.Leader), 10)+a.commandOf(m.Leader))
	}
	if m.Supervisor > 0 {
		b.row("Superv.", strconv.FormatUint(uint64(m.Supervisor), 10)+a.commandOf(m.Supervisor))
	}
	if m.Service != "" {
		b.row("Service", m.Service+"; class "+string(m.Class))
	} else {
		b.row("Class", string(m.Class))
	}
	if m.UID != 0 && m.UID != ^uint32(0) {
		b.row("UID", strconv.FormatUint(uint64(m.UID), 10))
	}
	if m.RootDirectory != "" {
		b.row("Root", m.RootDirectory)
	}
	if len(m.NetworkInterfaces) > 0 {
		b.row("Iface", a.interfaceNames(m.NetworkInterfaces))
	}
}

// commandOf returns the name of a process in brackets, if it can be told.
func (a *app) commandOf(pid uint32) string {
	if a.elsewhere() {
		return ""
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return ""
	}
	return " (" + strings.TrimSpace(string(comm)) + ")"
}

func (a *app) interfaceNames(indices []int32) string {
	var names []string
	for _, index := range indices {
		name := strconv.Itoa(int(index))
		if link, err := net.InterfaceByIndex(int(index)); err == nil && !a.elsewhere() {
			name = link.Name
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

// insideRows are what only the machine itself knows. What it does not tell is
// left out, and named if it is too slow.
func insideRows(b *block, r *report) {
	if text := addressLines(r.Machine, r.detail.Addresses); text != "" {
		fmt.Fprintf(b, "\t Address: %s\n", text)
	} else if errors.Is(r.detail.AddressError, machine1.ErrTimeout) {
		b.row("Address", cellSilent)
	}
	if name := r.detail.OSRelease["PRETTY_NAME"]; name != "" {
		b.row("OS", name)
	} else if errors.Is(r.detail.OSError, machine1.ErrTimeout) {
		b.row("OS", cellSilent)
	}
	if r.shift != 0 {
		fmt.Fprintf(b, "%s: %d\n", r.ids, r.shift)
	}
}

// usageRow tells what the machine takes of the host, as far as that is counted.
func usageRow(b *block, u machd.Usage) {
	var parts []string
	if u.Memory != nil {
		parts = append(parts, size(*u.Memory)+" memory")
	}
	if u.Tasks != nil {
		parts = append(parts, count(time.Duration(*u.Tasks), "task"))
	}
	if u.CPU != nil {
		parts = append(parts, span(time.Duration(*u.CPU)*time.Microsecond)+" of a processor")
	}
	if u.IORead != nil && u.IOWrite != nil {
		parts = append(parts, fmt.Sprintf("%s read, %s written", size(*u.IORead), size(*u.IOWrite)))
	}
	if len(parts) > 0 {
		b.row("Takes", strings.Join(parts, ", "))
	}
}

// addressLines adds the interface to addresses that mean nothing without it,
// when there is only one it can be.
func addressLines(m client.Machine, addresses []netip.Addr) string {
	zone := ""
	if len(m.NetworkInterfaces) == 1 {
		if _, err := net.InterfaceByIndex(int(m.NetworkInterfaces[0])); err == nil {
			zone = strconv.Itoa(int(m.NetworkInterfaces[0]))
		}
	}
	lines := make([]string, len(addresses))
	for i, addr := range addresses {
		if addr.Is6() {
			addr = addr.WithZone(zone)
		}
		lines[i] = addr.String()
	}
	return strings.Join(lines, "\n\t          ")
}

// processTree draws the processes of a machine. On a terminal it leaves room for
// the other lines there are, and for the prompt below; what is redrawn there can
// be scrolled, and machinectl has a pager for that.
func (a *app) processTree(r *report, others int) string {
	if len(r.processes) == 0 {
		return ""
	}
	cgroup := r.cgroup
	if r.Subgroup != "" {
		cgroup += "/" + strings.Trim(r.Subgroup, "/")
	}
	width, room := 0, math.MaxInt
	if a.ui.isTerminal() && !a.full && !a.all {
		width = max(a.ui.width-processMargin, 1)
		if a.ui.height > 0 && !a.stock && !a.watching {
			room = max(a.ui.height-1-others, leastTree)
		}
	}
	style := treeStyle{indent: processIndent, unicode: a.ui.unicode, width: width, ellipsis: a.ui.ellipsis, pid: a.pidStyle}
	return cutTree(drawProcesses(cgroup, r.processes, style), room, style)
}

func (a *app) pidStyle(text string) string { return a.ui.styled(text, styleGrey) }
