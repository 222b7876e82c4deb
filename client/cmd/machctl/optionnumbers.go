package main

import (
	"fmt"
	"strconv"
)

// addressLimit is the value of --max-addresses.
type addressLimit struct{ n int }

func (a *addressLimit) Set(text string) error {
	if text == "all" {
		a.n = unlimited
		return nil
	}
	n, err := parseUnsigned(text)
	if err != nil {
		return fmt.Errorf("not a number of addresses")
	}
	a.n = int(n)
	return nil
}

func (a *addressLimit) String() string { return strconv.Itoa(a.n) }
func (a *addressLimit) Type() string   { return "N" }

// lineCount is the value of --lines.
type lineCount struct{ n *uint }

func (l *lineCount) Set(text string) error {
	n, err := parseUnsigned(text)
	if err == nil {
		*l.n = uint(n)
	}
	return err
}

func (l *lineCount) String() string { return strconv.FormatUint(uint64(*l.n), 10) }
func (l *lineCount) Type() string   { return "N" }
