package main

import (
	"context"
	"embed"
	"slices"
	"strings"
)

// shells are those that there is a script for.
var shells = []string{"bash", "zsh", "fish"}

//go:embed completion
var completionScripts embed.FS

const completionHelp = `The script is for the shell to read. "make install" puts it where shells look;
without that, a line in ~/.bashrc or ~/.zshrc (below compinit) does it, or a file
in ~/.config/fish/completions. Names, users, files and ports in machines are
asked for when the key is pressed, and nobody is asked for a password then.

"machinectl completion bash" is the same for the command called machinectl.`

// completion prints the script of a shell.
func (a *app) completion(_ context.Context, args []string) error {
	if !slices.Contains(shells, args[0]) {
		return usagef("completion: there is no shell %q%s", args[0], orOnly(args[0], shells))
	}
	script, err := completionScripts.ReadFile("completion/machctl." + args[0])
	if err != nil {
		return err
	}
	text := string(script)
	if a.stock {
		text = strings.ReplaceAll(text, "machctl", machinectl)
	}
	a.ui.print(text)
	return nil
}

// helpVerbs are about machctl itself.
func (a *app) helpVerbs() []verbRow {
	return []verbRow{
		{
			use: "completion bash|zsh|fish", short: "Print what completes command lines in a shell", min: 1, max: 1, run: a.completion,
			group: groupHelp, words: words{wordShell}, long: completionHelp,
			examples: []example{
				{"source <(machctl completion bash)", "in this shell only"},
				{"machctl completion fish > ~/.config/fish/completions/machctl.fish", "in every fish"},
			},
		},
	}
}
