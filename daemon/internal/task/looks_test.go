package task_test

import (
	"testing"

	"github.com/machd/machd/daemon/internal/task"
)

func TestLooks(t *testing.T) {
	t.Parallel()
	var l task.Looks
	step := func(what string, got, want bool) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %v", what, got)
		}
	}
	step("the first may look", l.Begin("a"), true)
	step("another thing is looked at meanwhile", l.Begin("b"), true)
	step("the second may not", l.Begin("a"), false)
	step("nor the third", l.Begin("a"), false)
	step("but it is looked once more", l.End("a"), false)
	step("and no more", l.End("a"), true)
	step("who comes later may look", l.Begin("a"), true)
	l.Begin("a")
	l.Drop("a")
	step("what was dropped is not repeated", l.Begin("a"), true)
	step("and it is over at once", l.End("a"), true)
	step("the other thing too", l.End("b"), true)
}
