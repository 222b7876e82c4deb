package main

// Numbers as machinectl reads them. Which it takes is tried by the tests in
// test/booted.

import (
	"errors"
	"math/bits"
	"strconv"
	"strings"
)

// whitespace is that of isspace(3).
const whitespace = " \t\n\v\f\r"

const digits = "0123456789"

var errNumber = errors.New("not a number")

// parseUnsigned reads a number of 32 bits: behind white space and a sign, in the
// base that its prefix says.
func parseUnsigned(text string) (uint32, error) {
	text = strings.TrimLeft(text, whitespace)
	number, negative := strings.CutPrefix(text, "-")
	if !negative {
		number = strings.TrimPrefix(number, "+")
	}
	n, err := strconv.ParseUint(number, 0, 32)
	if err != nil || negative && n != 0 || strings.Contains(number, "_") {
		return 0, errNumber
	}
	return uint32(n), nil
}

// stockSize reads a sum of bytes, as "1G 512M": each number has a smaller unit
// than the one before it.
func stockSize(text string) (sum uint64, err error) {
	units, rest := "EPTGMKB", text
	for whole := false; !whole; whole = rest == "" {
		rest = strings.TrimPrefix(strings.TrimLeft(rest, whitespace), "+")
		number, fraction := "", ""
		if number, rest = cutDigits(rest); rest != "" && rest[0] == '.' {
			fraction, rest = cutDigits(rest[1:])
		}
		rest = strings.TrimLeft(rest, whitespace)
		unit := 0
		switch i := strings.IndexAny(rest, units); {
		case i == 0:
			units = units[strings.IndexByte(units, rest[0])+1:]
			unit, rest = 10*len(units), rest[1:] // those that are left are smaller
		case rest != "":
			return 0, errNumber
		}
		n, err := strconv.ParseUint(number, 10, 64)
		part, _ := strconv.ParseFloat("0."+fraction+"0", 64)
		high, low := bits.Mul64(n, 1<<unit)
		low, carry := bits.Add64(low, uint64(part*float64(uint64(1)<<unit)), 0)
		total, more := bits.Add64(sum, low, 0)
		if err != nil || high+carry+more != 0 {
			return 0, errNumber
		}
		sum = total
	}
	return sum, nil
}

// cutDigits returns the digits at the beginning, and what follows them.
func cutDigits(text string) (number, rest string) {
	rest = strings.TrimLeft(text, digits)
	return text[:len(text)-len(rest)], rest
}
