package main

import (
	"context"
	"strings"
	"time"
)

// guessTimeout is how long a hint may take to find; in tests longer.
var guessTimeout = 500 * time.Millisecond

// usageHint says where it is told how to use the verb.
func (a *app) usageHint() string {
	if a.verb == nil || !a.verb.HasParent() || a.verb.Name() == "help" {
		return `"machctl help" shows what there is`
	}
	return `"machctl help ` + a.verb.Name() + `" shows how it is used`
}

// meant asks whether one of those names was meant by the argument that err is
// about. It goes on with another hint. Nobody is asked for a password for it.
func (a *app) meant(err error, names func(context.Context) []string) string {
	if a.client == nil || a.verb == nil || a.stock {
		return ""
	}
	text := err.Error()
	for _, argument := range a.verb.Flags().Args() {
		_, name, found := strings.Cut(argument, "@")
		if !found {
			name = argument
		}
		if name == "" || !strings.Contains(text, name) {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), guessTimeout)
		defer cancel()
		if near := nearest(name, names(ctx)); len(near) > 0 && near[0] != name {
			return "did you mean " + strings.Join(near, " or ") + "? "
		}
		return ""
	}
	return ""
}

// knownMachines are the names of the machines that run, none if that is not to
// be learned.
func (a *app) knownMachines(ctx context.Context) []string {
	machines, err := a.client.Silent().List(ctx)
	if err != nil {
		return nil
	}
	names := make([]string, len(machines))
	for i, m := range machines {
		names[i] = m.Name
	}
	return names
}

// knownImages are the names of the images there are, likewise.
func (a *app) knownImages(ctx context.Context) []string {
	images, err := a.client.Silent().Images(ctx)
	if err != nil {
		return nil
	}
	names := make([]string, len(images))
	for i, image := range images {
		names[i] = image.Name
	}
	return names
}
