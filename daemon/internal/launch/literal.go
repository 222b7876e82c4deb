package launch

import (
	"maps"
	"slices"
	"strings"
)

// spell has PID 1 take all that is not the template's for what it says: a
// variable in the machine's own command is none of the unit's.
func (t *template) spell(p properties) {
	runs, _ := p["ExecStartEx"].Value().([]command)
	files, _ := written("ExecStartEx", t.all["ExecStartEx"])
	before, _ := files.Value().([]command)
	hasVariable := func(word string) bool { return strings.Contains(word, "$") }
	theirs := map[string]bool{}
	for _, c := range before {
		for _, word := range c.Argv {
			theirs[word] = hasVariable(word)
		}
	}
	expands := slices.Contains(slices.Collect(maps.Values(theirs)), true)
	for i, run := range runs {
		switch {
		case slices.Contains(run.Flags, "no-env-expand") || !slices.ContainsFunc(run.Argv, hasVariable):
		case !expands:
			runs[i].Flags = append(slices.Clone(run.Flags), "no-env-expand")
		default:
			runs[i].Argv = slices.Clone(run.Argv)
			for j, word := range run.Argv {
				if !theirs[word] {
					runs[i].Argv[j] = strings.ReplaceAll(word, "$", "$$")
				}
			}
		}
	}
}
