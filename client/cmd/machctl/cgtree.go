package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/machd/machd/client"
	"github.com/machd/machd/client/internal/columns"
)

// minCommandWidth is how much of a command line is shown on any terminal.
const minCommandWidth = 20

// A treeStyle is how to draw a tree.
type treeStyle struct {
	indent   string
	unicode  bool
	width    int // of a line without indent, 0 is as wide as needed
	ellipsis string
	pid      func(string) string
}

// branches returns what stands before a node that is followed by others or is
// the last, and before the nodes below each.
func (s treeStyle) branches(last bool) (node, below string) {
	switch {
	case s.unicode && last:
		return "└─", "  "
	case s.unicode:
		return "├─", "│ "
	case last:
		return "`-", "  "
	}
	return "|-", "| "
}

// A cgroupNode is one control group with its own processes.
type cgroupNode struct {
	children  map[string]*cgroupNode
	processes []client.Process
}

func (n *cgroupNode) child(name string) *cgroupNode {
	if n.children == nil {
		n.children = map[string]*cgroupNode{}
	}
	if n.children[name] == nil {
		n.children[name] = &cgroupNode{}
	}
	return n.children[name]
}

// drawProcesses draws the processes below root as a tree of control groups:
// processes by PID, then the groups below by name. Others are left out.
func drawProcesses(root string, processes []client.Process, style treeStyle) string {
	top := &cgroupNode{}
	for _, p := range processes {
		rest, ok := strings.CutPrefix(p.Cgroup, root)
		if !ok || rest != "" && rest[0] != '/' {
			continue
		}
		node := top
		for name := range strings.SplitSeq(strings.Trim(rest, "/"), "/") {
			if name != "" {
				node = node.child(name)
			}
		}
		node.processes = append(node.processes, p)
	}
	var b strings.Builder
	top.draw(&b, style, "")
	return b.String()
}

func (n *cgroupNode) draw(b *strings.Builder, style treeStyle, prefix string) {
	slices.SortFunc(n.processes, func(a, b client.Process) int { return int(a.PID) - int(b.PID) })
	digits := 0
	if len(n.processes) > 0 {
		digits = len(fmt.Sprint(n.processes[len(n.processes)-1].PID))
	}
	for i, p := range n.processes {
		branch, _ := style.branches(i == len(n.processes)-1 && len(n.children) == 0)
		pid := fmt.Sprintf("%*d", digits, p.PID)
		command := style.fit(printable(p.Command), columns.Of(prefix+branch+pid+" "))
		fmt.Fprintf(b, "%s%s%s%s %s\n", style.indent, prefix, branch, style.pid(pid), command)
	}
	names := slices.Sorted(maps.Keys(n.children))
	for i, name := range names {
		branch, below := style.branches(i == len(names)-1)
		fmt.Fprintf(b, "%s%s%s%s\n", style.indent, prefix, branch, printable(name))
		n.children[name].draw(b, style, prefix+below)
	}
}

// fit shortens text that begins at column used.
func (s treeStyle) fit(text string, used int) string {
	if s.width == 0 {
		return text
	}
	return columns.Truncate(text, max(s.width-used, minCommandWidth), s.ellipsis)
}
