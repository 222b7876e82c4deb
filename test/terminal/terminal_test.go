package terminal

import (
	"strings"
	"testing"
)

func TestWhatIsReadHasNoEscapeSequences(t *testing.T) {
	t.Parallel()
	term, err := Open(func(string) {}, "printf", `a\033[0;1;38:5:245mb\033]0;title\007c\033]3008;x=1\033\\d\033[?2004he\033(Bf\n`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := term.Expect(`\n`)
	if err != nil {
		t.Fatal(err)
	}
	if want := "abcdef\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := term.Wait(); err != nil {
		t.Error(err)
	}
}

// A getty that throws the pending output away cuts a sequence short.
func TestACutSequenceHoldsNothingBack(t *testing.T) {
	t.Parallel()
	term, err := Open(func(string) {}, "printf", `x\033[0;1;\r\nlogin: `)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := term.Expect(`login: `); err != nil {
		t.Error(err)
	}
}

func TestExpectTakesTheTypedAnswer(t *testing.T) {
	t.Parallel()
	term, err := Open(func(string) {}, "sh", "-c", "read x; echo got $x")
	if err != nil {
		t.Fatal(err)
	}
	if err := term.Type("hello\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := term.Expect(`\ngot hello\n`); err != nil {
		t.Error(err)
	}
	if err := term.Wait(); err != nil {
		t.Error(err)
	}
}

func TestWaitTellsThatTheTerminalIsNotAsItWas(t *testing.T) {
	t.Parallel()
	term, err := Open(func(string) {}, "stty", "-echo")
	if err != nil {
		t.Fatal(err)
	}
	if err := term.Wait(); err == nil || !strings.Contains(err.Error(), "not as it was") {
		t.Errorf("got %v", err)
	}
}
