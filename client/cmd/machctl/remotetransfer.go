package main

import (
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/machd/machd/client"
	"github.com/machd/machd/client/internal/tarball"
)

// importVerbs make images of files, of one kind each.
var importVerbs = map[string]archive{"import-tar": tarArchive, "import-raw": rawArchive, "import-fs": noArchive}

// transferByHost imports a file of this host into another one, or exports an
// image of that to a file of this host.
func (a *app) transferByHost(cmd *cobra.Command, args []string) error {
	if kind, imports := importVerbs[cmd.Name()]; imports {
		return a.importToHost(cmd, kind, args)
	}
	return a.exportFromHost(cmd, args)
}

func (a *app) importToHost(cmd *cobra.Command, kind archive, args []string) error {
	from, given := dashless(args[0]), dashless(argument(args, 1))
	switch {
	case from == "" && given == "":
		return usagef("what comes by standard input has no name, so give a NAME")
	case from == "" && isTerminal(os.Stdin):
		return usagef("standard input is a terminal: an image comes from a file or a pipe")
	}
	name, err := kind.imageName(given, from)
	if err != nil {
		return err
	}
	verb := cmd.Name()
	var in io.ReadCloser
	if verb == "import-fs" {
		verb = "import-tar" // a directory travels as one
		in, err = tarball.Read(cmd.Context(), from)
	} else {
		in, err = openSource(from)
	}
	if err != nil {
		return err
	}
	defer in.Close()
	far := farCommand{verb: cmd.Name(), words: a.farWords(cmd, verb, []string{stream, name})}
	if a.standInsHelp() && a.imageClass() == client.ClassMachine {
		line := []string{"machinectl", verb}
		if a.force {
			line = append(line, "--force")
		}
		if a.readOnly {
			line = append(line, "--read-only")
		}
		far.instead = &standIn{append(line, stream, name), "machinectl", "what it tells is another text"}
	}
	return a.runRelayed(far, in, os.Stdout)
}

func (a *app) exportFromHost(cmd *cobra.Command, args []string) error {
	name, to := args[0], dashless(argument(args, 1))
	format, err := compression(a.format, to)
	if err != nil {
		return err
	}
	if to == "" && isTerminal(os.Stdout) {
		return usagef("standard output is a terminal: an image goes to a file or a pipe")
	}
	packed := "--format=" + string(format)
	far := farCommand{verb: cmd.Name(), words: append([]string{packed}, a.farWords(cmd, cmd.Name(), []string{name, stream})...)}
	if a.standInsHelp() && a.imageClass() == client.ClassMachine {
		far.instead = &standIn{[]string{"machinectl", packed, cmd.Name(), name, stream}, "machinectl", "what it tells is another text"}
	}
	out := &lateTarget{path: to}
	err = a.runRelayed(far, nil, out)
	return join(err, out.target.close(err))
}

// A lateTarget is opened, and so emptied, when there is something to write.
type lateTarget struct {
	path   string
	target *target
}

func (l *lateTarget) Write(p []byte) (n int, err error) {
	if l.target == nil {
		if l.target, err = openTarget(l.path); err != nil {
			return 0, err
		}
	}
	return l.target.file.Write(p)
}
