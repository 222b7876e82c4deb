package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// at is the kind of the argument with that number, from 0.
func (row verbRow) at(n int) wordKind {
	switch {
	case len(row.words) == 0, row.max >= 0 && n >= row.max:
		return wordNone
	case n >= len(row.words):
		return row.words[len(row.words)-1]
	}
	return row.words[n]
}

// argument is what may stand as an argument of the verb.
func (l *line) argument() candidates {
	if l.verb.Name() == "help" {
		return l.helpCandidates()
	}
	kind, n := l.row.at(len(l.args)), len(l.args)
	if l.dashed && kind != wordUserAt && kind != wordCommand {
		return candidates{rest: files}
	}
	switch kind {
	case wordMachine:
		return candidates{list: l.others(l.machines())}
	case wordHost:
		return candidates{list: l.others(append(l.machines(), thisHost))}
	case wordUserAt:
		return l.userAt()
	case wordImage:
		return candidates{list: l.others(l.images())}
	case wordStart:
		return candidates{list: l.others(l.startable())}
	case wordFile:
		return candidates{rest: files}
	case wordInside:
		return l.inside(l.args[0])
	case wordCommand:
		return l.command(n)
	case wordPort:
		return candidates{list: l.ports()}
	case wordBool:
		return texts(nothingElse, "yes", "no")
	case wordVerb:
		return l.helpCandidates()
	case wordTransfer:
		return candidates{list: l.others(l.transfers())}
	case wordPortVerb:
		return texts(nothingElse, "add", "remove", "list")
	case wordSnapshotVerb:
		return texts(nothingElse, "create", "list", "restore", "remove")
	case wordSnapshot:
		return candidates{list: l.snapshots()}
	case wordShell:
		return texts(nothingElse, shells...)
	}
	return candidates{}
}

// others leaves out what stands on the line already.
func (l *line) others(all []candidate) []candidate {
	return slices.DeleteFunc(all, func(c candidate) bool { return slices.Contains(l.args, c.word) })
}

var thisHost = candidate{".host", "this host"}

// reach connects, and reports whether there is somebody to ask. Another host is
// not asked: ssh takes its time, and may want a password.
func (l *line) reach() bool {
	if l.app.client != nil {
		return true
	}
	if l.elsewhere() {
		return false
	}
	return l.app.open(l.ctx) == nil // files in machines come as descriptors
}

func (l *line) elsewhere() bool {
	host := l.long("host")
	return host != nil && host.Changed
}

func (l *line) machines() (list []candidate) {
	if !l.reach() {
		return nil
	}
	machines, err := l.app.client.List(l.ctx)
	if err != nil {
		return nil
	}
	for _, m := range machines {
		if !strings.HasPrefix(m.Name, ".") {
			list = append(list, candidate{m.Name, string(m.Class) + ", " + m.Service})
		}
	}
	return list
}

// images are those that are not hidden, or all where a dot is typed.
func (l *line) images() (list []candidate) {
	if !l.reach() {
		return nil
	}
	images, err := l.app.client.Images(l.ctx)
	if err != nil {
		return nil
	}
	for _, i := range images {
		if i.Name != thisHost.word && (!strings.HasPrefix(i.Name, ".") || strings.HasPrefix(l.current, ".")) {
			list = append(list, candidate{i.Name, "image, " + i.Type})
		}
	}
	return list
}

// startable are images that machines can be called like; verbs that do not start
// them may be about machines without an image, too.
func (l *line) startable() []candidate {
	list := slices.DeleteFunc(l.images(), func(c candidate) bool { return !machine1.ValidMachineName(c.word) })
	if l.verb.Name() == "start" {
		return list
	}
	for _, m := range l.machines() {
		if !slices.ContainsFunc(list, func(c candidate) bool { return c.word == m.word }) {
			list = append(list, m)
		}
	}
	return list
}

// ports are those that the machine has, for who takes them back.
func (l *line) ports() (list []candidate) {
	if l.args[0] == "add" || !l.reach() {
		return nil
	}
	ports, err := l.app.client.Ports(l.ctx, l.args[1])
	if err != nil {
		return nil
	}
	for _, p := range ports {
		if p.Inward == l.app.inward {
			list = append(list, candidate{portWord(p), "port"})
		}
	}
	return list
}

// portWord is a port in the words that add and remove take.
func portWord(p machd.PortStatus) string {
	if p.Inward {
		return fmt.Sprintf("%d:%d/%s", p.Guest, p.Host, p.Protocol)
	}
	text := fmt.Sprintf("%d:%d/%s", p.Host, p.Guest, p.Protocol)
	switch {
	case p.Address == "":
		return text
	case strings.Contains(p.Address, ":"):
		return "[" + p.Address + "]:" + text
	}
	return p.Address + ":" + text
}

// snapshots are those of the image on the line, for who needs one.
func (l *line) snapshots() (list []candidate) {
	if l.args[0] == "create" || l.args[0] == "list" || !l.reach() {
		return nil
	}
	snapshots, err := l.app.client.Snapshots(l.ctx, l.args[1])
	if err != nil {
		return nil
	}
	for _, s := range snapshots {
		list = append(list, candidate{s.Name, timestamp(s.Created)})
	}
	return list
}

func (l *line) transfers() (list []candidate) {
	if !l.reach() {
		return nil
	}
	transfers, err := l.app.client.Transfers(l.ctx, "")
	if err != nil {
		return nil
	}
	for _, t := range transfers {
		list = append(list, candidate{strconv.FormatUint(uint64(t.ID), 10), t.Type + " " + t.Local})
	}
	return list
}

// verbCandidates are all verbs; other names of theirs are not, unless they are
// the only ones that begin as is typed.
func (l *line) verbCandidates() candidates {
	var c, aliases candidates
	for _, cmd := range l.root.Commands() {
		if cmd.Hidden {
			continue
		}
		c.list = append(c.list, candidate{cmd.Name(), cmd.Short})
		for _, alias := range cmd.Aliases {
			aliases.list = append(aliases.list, candidate{alias, cmd.Short})
		}
	}
	if len(c.beginning(l.current).list) == 0 {
		return aliases
	}
	return c
}

func (l *line) helpCandidates() candidates {
	if len(l.args) > 0 {
		return candidates{}
	}
	c := l.verbCandidates()
	for _, t := range l.app.topics() {
		c.list = append(c.list, candidate{t.name, t.what})
	}
	return c
}
