package nspawnfile

import (
	"fmt"
	"strings"
)

// A Problem is a line that nobody acts on.
type Problem struct {
	Line int
	Text string
}

// known are the keys that systemd-nspawn reads, and machd in a section of its
// own. A name with a star stands for all that begin with it.
//
// Reference: systemd.nspawn(5) of 257 and 262; nspawn-gperf.gperf for the
// spellings that are only taken for old files.
var known = map[string]string{
	"Exec": "Boot Ephemeral ProcessTwo Parameters Environment User WorkingDirectory PivotRoot Capability DropCapability " +
		"AmbientCapability NoNewPrivileges KillSignal Personality MachineID PrivateUsers PrivateUsersDelegate NotifyReady SystemCallFilter " +
		"RestrictAddressFamilies Limit* OOMScoreAdjust CPUAffinity Hostname ResolvConf Timezone LinkJournal SuppressSync",
	"Files": "ReadOnly Volatile Bind BindReadOnly BindUser BindUserShell TemporaryFileSystem Inaccessible Overlay OverlayReadOnly " +
		"PrivateUsersOwnership PrivateUsersChown",
	"Network": "Private VirtualEthernet VirtualEthernetExtra Interface MACVLAN IPVLAN Bridge Zone Port NamespacePath",
	Own:       ownKeyNames(),
}

// Problems tells which lines of a .nspawn file nobody acts on. A container
// starts in spite of them.
func (f *File) Problems() []Problem {
	var problems []Problem
	for _, p := range f.pieces {
		if text := p.problem(); text != "" {
			problems = append(problems, Problem{p.line, text})
		}
	}
	return problems
}

func (p *piece) problem() string {
	text := strings.Trim(joined(p.raw), whitespace)
	if p.line == 1 {
		text = strings.TrimPrefix(text, byteOrderMark)
	}
	keys, knownSection := known[p.section]
	foreign := strings.HasPrefix(p.section, "X-") && !knownSection
	switch {
	case text == "" || isComment(text) || foreign && (p.header || p.key != ""):
	case p.header && p.section == "":
		return fmt.Sprintf("%q is no section", text)
	case p.header && !knownSection:
		return fmt.Sprintf("there is no section [%s]", p.section)
	case p.header:
	case p.key == "":
		return fmt.Sprintf("%q is no assignment", text)
	case p.section == "":
		return fmt.Sprintf("%s= is in no section", p.key)
	case knownSection && !isAmong(p.key, keys):
		return fmt.Sprintf("section [%s] has no %s=", p.section, p.key)
	}
	return ""
}

func isAmong(key, keys string) bool {
	if strings.HasPrefix(key, "X-") {
		return true
	}
	for k := range strings.FieldsSeq(keys) {
		if prefix, open := strings.CutSuffix(k, "*"); k == key || open && strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}
