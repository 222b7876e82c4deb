package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/machd/machd/client/internal/machine1test"
	"github.com/machd/machd/pkg/machine1"
)

func worldWithImages(t *testing.T) *machine1test.World {
	t.Helper()
	w := machine1test.New(t)
	for _, name := range []string{"web", ".hidden", ".web@one"} {
		w.AddImage(machine1test.Image{ListedImage: machine1.ListedImage{Name: name, Type: "directory", Created: 1700000000000000, Usage: ^uint64(0)}})
	}
	return w
}

// called reports whether the daemon was told to do something.
func called(w *machine1test.World, member string) bool {
	return slices.ContainsFunc(w.Calls(), func(call string) bool { return strings.Contains(call, member) })
}

// Somebody at a terminal is told what goes, and asked; anything but yes is no.
func TestQuestions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args            []string
		shown           string
		answer          string
		member          string
		done            bool
		withoutQuestion bool
	}{
		{args: []string{"remove", "web"}, shown: "  image web, 3M: its snapshot stays\r\nRemove this image? [y/N] ", answer: "y\n", member: "RemoveImage", done: true},
		{args: []string{"remove", "web"}, shown: "Remove this image? [y/N] ", answer: "\n", member: "RemoveImage"},
		{args: []string{"remove", "web"}, shown: "Remove this image? [y/N] ", answer: "yess\n", member: "RemoveImage"},
		{args: []string{"remove", "web"}, shown: "Remove this image? [y/N] ", answer: "\x04", member: "RemoveImage"},
		{args: []string{"clean"}, shown: "  image .hidden, 3M\r\nRemove this image? [y/N] ", answer: "n\n", member: "CleanPool"},
		{args: []string{"snapshot", "restore", "web", "one"}, shown: "Restore it? [y/N] ", answer: "YES\n", member: "RestoreSnapshot", done: true},
		{args: []string{"snapshot", "remove", "web", "one"}, shown: "  snapshot one, 5M: of web, made on ", answer: "no\n", member: "RemoveSnapshot"},
		{args: []string{"remove", "-y", "web"}, member: "RemoveImage", done: true, withoutQuestion: true},
	} {
		w := worldWithImages(t)
		tm := runOnTerminal(t, w, 80, c.args...)
		if !c.withoutQuestion {
			tm.await(c.shown)
			tm.await("[y/N] ")
			if called(w, c.member) {
				t.Errorf("%q: it is done before there is an answer", c.args)
			}
			tm.typed(c.answer)
		}
		want := exitFailure
		if c.done {
			want = 0
		}
		if !c.done {
			tm.await("nothing was done")
		}
		tm.exits(want)
		if called(w, c.member) != c.done {
			t.Errorf("%q, answered %q: done is %t; the screen shows %q", c.args, c.answer, called(w, c.member), tm.text())
		}
	}
}

// A password is asked for twice, and never shown.
func TestPasswordPrompt(t *testing.T) {
	t.Parallel()
	for again, want := range map[string]string{"c8 secret": "is set", "c8 secert": "the passwords are not the same; nothing was changed"} {
		w := worldWithImages(t)
		tm := runOnTerminal(t, w, 80, "passwd", "web")
		tm.await("New password of root of web: ")
		tm.typed("c8 secret\n")
		tm.await("The same again: ")
		tm.typed(again + "\n")
		same := again == "c8 secret"
		tm.await(want)
		if same {
			tm.exits(0)
		} else {
			tm.exits(exitFailure)
		}
		if text := tm.text(); !strings.Contains(text, want) || strings.Contains(text, "c8") || same != called(w, "SetImagePassword") {
			t.Errorf("the screen shows %q", text)
		}
	}
}

// ^C in the middle of a password leaves the terminal as it was.
func TestPasswordPromptIsInterrupted(t *testing.T) {
	t.Parallel()
	w := worldWithImages(t)
	tm := runOnTerminal(t, w, 80, "passwd", "web")
	tm.await("New password of root of web: ")
	tm.typed("c8")
	tm.typed("\x03")
	tm.exits(-1) // the signal ends it
	if called(w, "SetImagePassword") {
		t.Error("a password was set")
	}
}
