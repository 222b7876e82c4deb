package machine

import (
	"strings"

	"golang.org/x/net/publicsuffix"
)

// PublicName reports whether everybody's names are below a machine's, as below
// dev: whoever resolves the names of machines must leave it to the host's
// resolver.
func PublicName(name string) bool {
	name = strings.ToLower(name)
	suffix, known := publicsuffix.PublicSuffix(name)
	return known && suffix == name
}
