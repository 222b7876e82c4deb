package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/machd/machd/pkg/machd"
)

// planObject is what the start of one machine would do, for programs.
func planObject(name, unit string, changes []machd.Change) object {
	objects := make([]object, len(changes))
	for i, c := range changes {
		objects[i] = object{{"kind", c.Kind}, {"name", c.Name}, {"from", noneIfEmpty(c.From)}, {"to", noneIfEmpty(c.To)}}
	}
	return object{{"machine", name}, {"unit", unit}, {"changes", objects}}
}

// plan shows what a start would do.
func (a *app) plan(ctx context.Context, names []string, o machd.StartOptions) error {
	plans := []object{}
	err := each(names, func(name string) error {
		ctx, cancel := a.limit(ctx)
		defer cancel()
		unit, changes, err := a.client.PlanStart(ctx, name, o)
		if err != nil {
			return err
		}
		plans = append(plans, planObject(name, unit, changes))
		if !a.json() {
			a.ui.print(drawPlan(name, unit, changes))
		}
		return nil
	})
	if a.json() {
		return join(err, a.printJSON(plans))
	}
	return err
}

// drawPlan draws a plan as a diff: what goes away begins with "-", what comes
// with "+".
func drawPlan(name, unit string, changes []machd.Change) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s in %s\n", printable(name), printable(unit))
	for _, c := range changes {
		if c.Kind == "file" || strings.Contains(c.From+c.To, "\n") {
			fmt.Fprintf(&b, "+ %s %s\n", printable(c.Kind), printable(c.Name))
			drawLines(&b, c)
			continue
		}
		for _, side := range []struct{ sign, value string }{{"-", c.From}, {"+", c.To}} {
			if side.value != "" {
				fmt.Fprintf(&b, "%s %s %s=%s\n", side.sign, printable(c.Kind), printable(c.Name), printable(side.value))
			}
		}
		if c.From == "" && c.To == "" {
			fmt.Fprintf(&b, "+ %s %s=\n", printable(c.Kind), printable(c.Name))
		}
	}
	return b.String()
}

// drawLines draws the lines that are on one side of a file, or of rules, only.
func drawLines(b *strings.Builder, c machd.Change) {
	before, after := strings.Split(strings.TrimSuffix(c.From, "\n"), "\n"), strings.Split(strings.TrimSuffix(c.To, "\n"), "\n")
	for _, side := range []struct {
		sign         string
		lines, other []string
	}{{"-", before, after}, {"+", after, before}} {
		for _, line := range side.lines {
			if line != "" && !slices.Contains(side.other, line) {
				fmt.Fprintf(b, "%s     %s\n", side.sign, printable(strings.ReplaceAll(line, "\t", "    ")))
			}
		}
	}
}
