package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/machd/machd/client"
	"github.com/machd/machd/pkg/machine1"
)

// processIndent is how far a process tree stands from the left, and
// processMargin is its width on a terminal.
const (
	processIndent = "\t\t  "
	processMargin = 18
)

// status shows each machine as a block for people.
func (a *app) status(ctx context.Context, names []string) error {
	if err := a.connect(ctx); err != nil {
		return err
	}
	var blocks []string
	err := each(names, func(name string) error {
		ctx, cancel := a.limit(ctx)
		defer cancel()
		m, err := a.client.Machine(ctx, name)
		if err != nil {
			return lookupError(err)
		}
		blocks = append(blocks, a.statusText(ctx, m))
		return nil
	})
	a.ui.page(strings.Join(blocks, "\n"))
	return err
}

// A block is lines of right-aligned labels and values.
type block struct{ strings.Builder }

func (b *block) row(label, value string) {
	fmt.Fprintf(b, "\t%8s: %s\n", label, printable(value))
}

func (a *app) statusText(ctx context.Context, m client.Machine) string {
	b := &block{}
	b.WriteString(printable(m.Name))
	if m.ID != [16]byte{} {
		b.WriteString("(" + hex.EncodeToString(m.ID[:]) + ")")
	}
	b.WriteString("\n")
	identityRows(b, m)
	a.insideRows(ctx, b, m)
	a.networkRows(ctx, b, m)
	if m.Unit != "" {
		b.row("Unit", m.Unit)
		if m.Subgroup != "" && m.Subgroup != "/" {
			b.row("Subgroup", m.Subgroup)
		}
		b.WriteString(a.processTree(ctx, m))
		b.WriteString(a.journalText(ctx, m))
	}
	return b.String()
}

func identityRows(b *block, m client.Machine) {
	if !m.Since.IsZero() {
		b.row("Since", timestamp(m.Since)+"; "+ago(m.Since, time.Now()))
	}
	if m.Leader > 0 {
		b.row("Leader", strconv.FormatUint(uint64(m.Leader), 10)+commandOf(m.Leader))
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
		b.row("Iface", interfaceNames(m.NetworkInterfaces))
	}
}

// commandOf returns the name of a process in brackets, if it can be told.
func commandOf(pid uint32) string {
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return ""
	}
	return " (" + strings.TrimSpace(string(comm)) + ")"
}

func interfaceNames(indices []int32) string {
	var names []string
	for _, index := range indices {
		name := strconv.Itoa(int(index))
		if link, err := net.InterfaceByIndex(int(index)); err == nil {
			name = link.Name
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

// insideRows are what only the machine itself knows. What it does not tell is
// left out, and named if it is too slow.
func (a *app) insideRows(ctx context.Context, b *block, m client.Machine) {
	d := a.client.Overview(ctx, []machine1.ListedMachine{{Name: m.Name}}, a.timeout.or(listTimeout))[0]
	if text := addressLines(m, d.Addresses); text != "" {
		fmt.Fprintf(b, "\t Address: %s\n", text)
	} else if errors.Is(d.AddressError, machine1.ErrTimeout) {
		b.row("Address", cellSilent)
	}
	if name := d.OSRelease["PRETTY_NAME"]; name != "" {
		b.row("OS", name)
	} else if errors.Is(d.OSError, machine1.ErrTimeout) {
		b.row("OS", cellSilent)
	}
	ctx, cancel := context.WithTimeout(ctx, a.timeout.or(listTimeout))
	defer cancel()
	if shift, err := a.client.UIDShift(ctx, m.Name); err == nil && shift != 0 {
		fmt.Fprintf(b, "  UID Shift: %d\n", shift)
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

func (a *app) processTree(ctx context.Context, m client.Machine) string {
	cgroup, processes, err := a.client.UnitProcesses(ctx, m.Unit)
	if err != nil || len(processes) == 0 {
		return ""
	}
	if m.Subgroup != "" {
		cgroup += "/" + strings.Trim(m.Subgroup, "/")
	}
	width := 0
	if a.ui.isTerminal() && !a.full && !a.all {
		width = max(a.ui.width-processMargin, 1)
	}
	return drawProcesses(cgroup, processes, treeStyle{indent: processIndent, unicode: a.ui.unicode, width: width, ellipsis: a.ui.ellipsis, pid: a.pidStyle})
}

func (a *app) pidStyle(text string) string { return a.ui.styled(text, styleGrey) }
