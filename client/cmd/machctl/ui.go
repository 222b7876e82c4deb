package main

// Everything that machctl prints goes through this file.
//
// Results go to standard output and nothing else does. What a person should
// know goes to standard error, one line each, begun with "machctl: ": what
// could not be done, to what, and why; then, as "machctl: hint: ", the way out.
// No capital at the beginning, no full stop at the end. Text that a machine or
// a daemon sent is shown without its control characters.

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/client/internal/columns"
	"github.com/machd/machd/pkg/nspawnfile"
)

// SGR parameters.
const (
	styleGrey = "90"
	styleRed  = "1;31"
	styleBlue = "34"
)

// A ui is where we print, and what can be printed there.
type ui struct {
	out, err *os.File
	options  *options

	stock    bool // in the words of machinectl, which has no notices
	colour   bool
	width    int // of the terminal, 0 if it is none
	height   int // of the same
	ellipsis string
	unicode  bool
	failed   error // why a result could not be printed
}

func newUI(out, err *os.File, o *options) *ui {
	u := &ui{out: out, err: err, options: o, unicode: utf8Locale()}
	u.ellipsis = columns.Ellipsis(u.unicode)
	size, sizeErr := unix.IoctlGetWinsize(int(out.Fd()), unix.TIOCGWINSZ)
	if sizeErr != nil {
		return u
	}
	u.width, u.height = int(size.Col), int(size.Row)
	if u.width == 0 {
		u.width = 80
	}
	u.colour = os.Getenv("NO_COLOR") == "" && !u.isDumb()
	return u
}

// utf8Locale asks the variables that setlocale(3) asks, in its order. Where none of
// them is set, as for a job of cron's, it is UTF-8.
//
// Reference: locale-util.c, is_locale_utf8.
func utf8Locale() bool {
	if said, err := nspawnfile.ParseBool(os.Getenv("SYSTEMD_UTF8")); err == nil {
		return said
	}
	isSet := false
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		value, ok := os.LookupEnv(name)
		isSet = isSet || ok
		if value != "" {
			value = strings.ToUpper(value)
			return strings.Contains(value, "UTF-8") || strings.Contains(value, "UTF8")
		}
	}
	return !isSet
}

// arrow stands between a link and what it leads to.
func (u *ui) arrow() string {
	if u.unicode {
		return "→"
	}
	return "->"
}

// isTerminal reports whether results go to a terminal.
func (u *ui) isTerminal() bool { return u.width > 0 }

// isDumb reports whether the terminal can do nothing but print.
func (u *ui) isDumb() bool { return os.Getenv("TERM") == "" || os.Getenv("TERM") == "dumb" }

// print prints a result.
func (u *ui) print(text string) {
	if _, err := fmt.Fprint(u.out, text); err != nil && u.failed == nil {
		u.failed = fmt.Errorf("cannot print the result: %w", err)
	}
}

// say tells a person what goes on, as it is.
func (u *ui) say(text string) {
	if !u.options.quiet {
		fmt.Fprintln(u.err, text)
	}
}

// always is say for what is lost, which machinectl does not keep to itself.
func (u *ui) always(text string) {
	if u.stock || !u.options.quiet {
		fmt.Fprintln(u.err, text)
	}
}

// notice tells a person what is no failure.
func (u *ui) notice(text string) {
	if !u.stock {
		u.say("machctl: " + printable(text))
	}
}

// problem tells what could not be done.
func (u *ui) problem(text string) { fmt.Fprintln(u.err, "machctl: "+printable(text)) }

// detail shows a line that belongs to the problem before it.
func (u *ui) detail(line string) { fmt.Fprintln(u.err, "  "+printable(line)) }

// line tells what could not be done in the words of another program.
func (u *ui) line(text string) { fmt.Fprintln(u.err, printable(text)) }

// ask asks a question that "y" or "yes" is the answer to.
func (u *ui) ask(question string) bool {
	fmt.Fprint(u.err, printable(question)+" [y/N] ")
	answer, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil {
		fmt.Fprintln(u.err)
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}

// hint tells a way out.
func (u *ui) hint(text string) { fmt.Fprintln(u.err, "machctl: hint: "+text) }

// styled returns text in a style where there is colour.
func (u *ui) styled(text, style string) string {
	if !u.colour {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// printable replaces what would move the cursor or worse. Text from inside a
// machine is its administrator's, not ours.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || unicode.IsControl(r) {
			return '?'
		}
		return r
	}, text)
}
