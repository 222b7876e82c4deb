package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The groups of verbs in the help, in its order.
const (
	groupLook     = "look"
	groupRun      = "run"
	groupEnter    = "enter"
	groupFiles    = "files"
	groupSettings = "settings"
	groupImages   = "images"
	groupTransfer = "transfer"
	groupHelp     = "help"
)

var groups = []*cobra.Group{
	{ID: groupLook, Title: "See what runs"},
	{ID: groupRun, Title: "Start and end"},
	{ID: groupEnter, Title: "Get inside"},
	{ID: groupFiles, Title: "Share files"},
	{ID: groupSettings, Title: "Settings"},
	{ID: groupImages, Title: "Images"},
	{ID: groupTransfer, Title: "Transfers"},
	{ID: groupHelp, Title: "Help"},
}

// A verbRow is a verb: what it does, and what help, completion and the manual
// tell of it.
type verbRow struct {
	use      string // what follows "machctl", in the words of the manual
	short    string
	min, max int // arguments; a negative max is any number
	run      func(ctx context.Context, args []string) error
	group    string
	aliases  []string
	options  string    // that mean something to it, by long name
	long     string    // for help and the manual, in lines of at most 80 columns
	examples []example // of which each works when it is pasted
	words    words     // what its arguments are

	// columns are what its list tells, or nil.
	columns func() []columnText

	// setup changes the command that was made from the row, or is nil.
	setup func(*cobra.Command)
}

// An example is a command line and what it is good for.
type example struct {
	line string
	what string
}

// families are the tables of verbs.
func (a *app) families() [][]verbRow {
	return [][]verbRow{
		a.lookVerbs(), a.runVerbs(), a.enterVerbs(), a.fileVerbs(), a.vmVerbs(), a.settingsVerbs(),
		a.createVerbs(), a.imageVerbs(), a.imageLookVerbs(), a.transferVerbs(),
	}
}

// verbs are all of them, in the order of the help.
func (a *app) verbs() []verbRow { return slices.Concat(append(a.families(), a.helpVerbs())...) }

// The tables have an order of their own.
func init() { cobra.EnableCommandSorting = false }

// aboutUs is what machctl is for, in a line.
const aboutUs = "List, show, start, stop and enter containers and virtual machines"

// rootCommand is machctl itself, with all verbs.
func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "machctl [OPTION…] VERB …",
		Short: aboutUs,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && args[0] == noVerb {
				args = args[1:]
			}
			if err := a.check(cmd); err != nil || len(args) == 0 {
				return err
			}
			return &stockError{unknownVerb(cmd, args[0]), stockVerbText(args[0])}
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.list(cmd.Context(), nil)
		},
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	a.addFlags(root.PersistentFlags())
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return &stockError{wrongFlag(cmd, err), stockFlagText(err)} })
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { a.ui.page(a.helpText(cmd)) })
	help := a.helpCommand()
	root.SetHelpCommand(help)
	root.AddGroup(groups...)
	for _, row := range a.verbs() {
		root.AddCommand(a.command(row))
	}
	root.AddCommand(a.relayCommand())
	a.abbreviate(root, help)
	return root
}

// abbreviate lets options be abbreviated before the verb and behind it. That goes
// through all options of a command, so only those are prepared that the command
// line can be meant for.
func (a *app) abbreviate(root, help *cobra.Command) {
	whole := a.abbreviations(root.PersistentFlags())
	root.Flags().SetNormalizeFunc(whole)
	root.PersistentFlags().SetNormalizeFunc(whole)
	for _, cmd := range append(root.Commands(), help) {
		if slices.ContainsFunc(a.words, func(word string) bool { return word == cmd.Name() || cmd.HasAlias(word) }) {
			cmd.SetGlobalNormalizationFunc(whole)
		}
	}
}

// command makes a command of a row.
func (a *app) command(row verbRow) *cobra.Command {
	cmd := &cobra.Command{
		Use:         row.use,
		Short:       row.short,
		Long:        row.long,
		GroupID:     row.group,
		Aliases:     row.aliases,
		Annotations: map[string]string{annotateOptions: row.options},
		Args: func(cmd *cobra.Command, args []string) error {
			err := a.check(cmd)
			switch {
			case err != nil:
				return err
			case len(args) < row.min, len(args) == 0 && a.stock && stockNeeds[cmd.Name()]:
				return stocked(usagef("%s: too few arguments; it is machctl %s", cmd.Name(), cmd.Use), "Too few arguments.")
			case row.max >= 0 && len(args) > row.max:
				return stocked(usagef("%s: too many arguments: %q", cmd.Name(), args[row.max]), "Too many arguments.")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return row.run(cmd.Context(), args) },
	}
	if row.setup != nil {
		row.setup(cmd)
	}
	here := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.carryOut(cmd, args, func() error { return here(cmd, args) })
	}
	return cmd
}

// ownOptionsOnly refuses options of ours that mean nothing to the verb. Those
// of machinectl are accepted with every verb, as scripts are used to it.
func (a *app) ownOptionsOnly(cmd *cobra.Command) error {
	known, ok := cmd.Annotations[annotateOptions]
	if !ok {
		return nil
	}
	var err error
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if err == nil && !stockOptions[f.Name] && !everyVerb[f.Name] && !slices.Contains(strings.Fields(known), f.Name) {
			err = stocked(usagef("%s: --%s means nothing to it", cmd.Name(), f.Name), "machinectl: unrecognized option '--%s'", f.Name)
		}
	})
	return err
}
