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

// A treeLine is one line of a tree: a process, or a group of some.
type treeLine struct {
	text    string
	process bool
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
func drawProcesses(root string, processes []client.Process, style treeStyle) []treeLine {
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
	return top.draw(nil, style, "")
}

// draw adds the lines of n to those there are.
func (n *cgroupNode) draw(lines []treeLine, style treeStyle, prefix string) []treeLine {
	slices.SortFunc(n.processes, func(a, b client.Process) int { return int(a.PID) - int(b.PID) })
	digits := 0
	if len(n.processes) > 0 {
		digits = len(fmt.Sprint(n.processes[len(n.processes)-1].PID))
	}
	for i, p := range n.processes {
		branch, _ := style.branches(i == len(n.processes)-1 && len(n.children) == 0)
		pid := fmt.Sprintf("%*d", digits, p.PID)
		command := style.fit(printable(p.Command), columns.Of(prefix+branch+pid+" "))
		lines = append(lines, treeLine{fmt.Sprintf("%s%s%s%s %s\n", style.indent, prefix, branch, style.pid(pid), command), true})
	}
	names := slices.Sorted(maps.Keys(n.children))
	for i, name := range names {
		branch, below := style.branches(i == len(names)-1)
		lines = append(lines, treeLine{fmt.Sprintf("%s%s%s%s\n", style.indent, prefix, branch, printable(name)), false})
		lines = n.children[name].draw(lines, style, prefix+below)
	}
	return lines
}

// cutTree returns a tree in no more lines than there is room for, the last of
// which says how many processes are left out. A group of which nothing is shown
// is not shown either.
func cutTree(lines []treeLine, room int, style treeStyle) string {
	shown := len(lines)
	if room < shown {
		shown = max(room-1, 0)
		for shown > 0 && !lines[shown-1].process {
			shown--
		}
	}
	var b strings.Builder
	for _, line := range lines[:shown] {
		b.WriteString(line.text)
	}
	left := 0
	for _, line := range lines[shown:] {
		if line.process {
			left++
		}
	}
	if left > 0 {
		fmt.Fprintf(&b, "%s%s %d more; --full shows all\n", style.indent, style.ellipsis, left)
	}
	return b.String()
}

// fit shortens text that begins at column used.
func (s treeStyle) fit(text string, used int) string {
	if s.width == 0 {
		return text
	}
	return columns.Truncate(text, max(s.width-used, minCommandWidth), s.ellipsis)
}
