// Command picture makes the picture of a terminal that is in the README.
//
//	picture capture            plays a session in this host, and prints the screen
//	picture render SCREEN      prints a screen as SVG
//
// A screen is text with the escape sequences of colours, and no others: what
// tmux says is on it. It must not know what machctl prints.
package main

import (
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "picture:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "capture":
		screen, err := capture(session)
		if err != nil {
			return err
		}
		_, err = os.Stdout.WriteString(screen)
		return err
	case len(args) == 2 && args[0] == "render":
		text, err := os.ReadFile(args[1])
		if err != nil {
			return err
		}
		return render(os.Stdout, parse(string(text)))
	}
	return fmt.Errorf("usage: picture capture | picture render SCREEN")
}
