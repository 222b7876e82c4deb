package main

import (
	"slices"
	"strings"
)

// An exitText says what an exit code means, and which verbs have it.
type exitText struct {
	code string
	text string
	of   func(row verbRow) bool
}

// exitTexts are those of verbs that do not exit as a command does.
var exitTexts = []exitText{
	{"0", "Done.", anyVerb},
	{"1", "It failed for a reason that is not below, or several names failed for different ones.", anyVerb},
	{"2", "The command line is wrong; nothing was done.", anyVerb},
	{"3", "There is no such machine, image or transfer.", namesSomething},
	{"4", "You may not do that, or were not asked for a password.", anyVerb},
	{"5", "It took too long. It may still happen.", anyVerb},
	{"6", "There is a machine, an image or a file of that name already.", makesSomething},
	{"7", "The bus, machd or systemd cannot be reached.", anyVerb},
	{"128+N", "A login session was ended by signal N, other than SIGINT and SIGTERM, which end it with 0; 141 (SIGPIPE) " +
		"if nobody took its output.", func(row verbRow) bool { return row.name() == "login" }},
	{"128+N", "Signal N ended the wait for a transfer, which goes on; 141 (SIGPIPE) if nobody took an export.",
		func(row verbRow) bool { return row.group == groupTransfer && makesSomething(row) }},
}

// commandExitTexts are those of verbs that exit as a command does.
var commandExitTexts = []exitText{
	{"125", "It failed before that, for any of the reasons above, or nobody can tell how the command ended.", exitsAsCommand},
	{"126", "The command cannot be run.", exitsAsCommand},
	{"127", "There is no such command in the machine.", exitsAsCommand},
	{"128+N", "Signal N killed the command, or ended the shell's session.", exitsAsCommand},
}

func anyVerb(verbRow) bool { return true }

func exitsAsCommand(row verbRow) bool { return runsCommands[row.name()] }

// namesSomething: create takes no names of what there is, but a SOURCE may be one.
func namesSomething(row verbRow) bool {
	return row.name() == "create" || slices.ContainsFunc(row.words, func(k wordKind) bool {
		switch k {
		case wordMachine, wordHost, wordUserAt, wordImage, wordStart, wordTransfer:
			return true
		}
		return false
	})
}

// makers are the verbs that make something under a name.
var makers = setOf("start clone rename copy-to copy-from bind port create snapshot pull-tar pull-raw pull-oci " +
	"import-tar import-raw import-fs export-tar export-raw")

func makesSomething(row verbRow) bool { return makers[row.name()] }

// exitCodes are those that a verb may exit with.
func (row verbRow) exitCodes() []exitText {
	if exitsAsCommand(row) {
		return append([]exitText{{code: "0…255", text: "What the command exits with."}}, commandExitTexts...)
	}
	return slices.DeleteFunc(slices.Clone(exitTexts), func(t exitText) bool { return !t.of(row) })
}

const (
	commandExitIntro = "exec, run and shell exit with the command's own status:"
	exitNotes        = `The status of a shell on a terminal is not told, nor with machctl --user or
systemd-machined that of a command in one: 0 says that it was run.
Called as machinectl, the command exits with 0 or 1 only.`
)

func exitCodesHelp() string {
	var b strings.Builder
	b.WriteString("Exit codes\n\n")
	for _, t := range exitTexts {
		b.WriteString(entry(t.code, t.text, 9))
	}
	b.WriteString("\n" + commandExitIntro + "\n\n")
	for _, t := range commandExitTexts {
		b.WriteString(entry(t.code, t.text, 9))
	}
	return b.String() + "\n" + exitNotes + "\n"
}
