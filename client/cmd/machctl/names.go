package main

import (
	"fmt"
	"strings"

	"github.com/machd/machd/pkg/machine1"
)

const maxMachineName = 64 // bytes

// checkNames refuses names that no machine can have, before anything is done
// to any of the others.
func checkNames(names []string, valid func(string) bool) error {
	return each(names, func(name string) error {
		if valid(name) {
			return nil
		}
		return nameError(name)
	})
}

// checkLookups is checkNames for machines that are only looked up. The stock
// command leaves that to the daemon.
func (a *app) checkLookups(names ...string) error {
	if a.stock {
		return nil
	}
	return checkNames(names, machine1.ValidLookupName)
}

// nameError says what is wrong with a name that machine1.ValidMachineName
// refuses.
func nameError(name string) error {
	hint := "a machine's name has letters, digits, '-' and '.'"
	if better := nearestName(name); better != "" {
		hint += fmt.Sprintf("; give the image one that can be a machine's, such as %q", better)
	}
	return stocked(&hintedError{fmt.Errorf("%q cannot be a machine's name: %s", name, nameFault(name)), hint}, "Invalid machine name %s.", name)
}

func nameFault(name string) string {
	switch {
	case name == "":
		return "it is empty"
	case len(name) > maxMachineName:
		return fmt.Sprintf("it has %d bytes, and %d are allowed", len(name), maxMachineName)
	}
	for _, r := range name {
		if r != '.' && !machine1.ValidMachineName(string(r)) && r != '-' {
			return fmt.Sprintf("%q is not allowed", r)
		}
	}
	switch {
	case strings.Contains(name, ".."):
		return "'.' may not follow '.'"
	case name[0] == '.' || name[0] == '-':
		return fmt.Sprintf("it begins with %q", name[0])
	case strings.HasSuffix(name, ".") || strings.HasSuffix(name, "-"):
		return fmt.Sprintf("it ends with %q", name[len(name)-1])
	}
	return "'-' may not stand beside '.'"
}

// nearestName returns a valid name that looks like name, or "".
func nearestName(name string) string {
	var labels []string
	for label := range strings.SplitSeq(name, ".") {
		label = strings.Map(func(r rune) rune {
			if machine1.ValidMachineName(string(r)) {
				return r
			}
			return '-'
		}, label)
		if label = strings.Trim(label, "-"); label != "" {
			labels = append(labels, label)
		}
	}
	better := strings.Join(labels, ".")
	if !machine1.ValidMachineName(better) {
		return ""
	}
	return better
}
