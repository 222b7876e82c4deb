package nspawnfile

import (
	"fmt"
	"strings"
)

// ParseBool reads a value that is yes or no.
//
// Reference: parse-util.c, parse_boolean.
func ParseBool(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "1", "yes", "y", "true", "t", "on":
		return true, nil
	case "0", "no", "n", "false", "f", "off":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither yes nor no", text)
}
