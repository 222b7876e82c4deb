package wire

import "strings"

const maxName = 255

// ValidInterface reports whether name can be an interface's or an error's:
// two or more elements, separated by dots, each valid as a member name.
func ValidInterface(name string) bool {
	if len(name) > maxName || !strings.Contains(name, ".") {
		return false
	}
	for element := range strings.SplitSeq(name, ".") {
		if !ValidMember(element) {
			return false
		}
	}
	return true
}

// ValidMember reports whether name can be a method's, a signal's or a
// property's: letters, digits and '_', not beginning with a digit.
func ValidMember(name string) bool {
	if name == "" || len(name) > maxName {
		return false
	}
	for i := range len(name) {
		switch c := name[i]; {
		case c == '_', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		case '0' <= c && c <= '9' && i > 0:
		default:
			return false
		}
	}
	return true
}

// validPath reports whether p can be an object path: "/", or elements of
// letters, digits and '_', a '/' before each.
func validPath(p string) bool {
	if p == "/" {
		return true
	}
	if p == "" || p[0] != '/' || p[len(p)-1] == '/' {
		return false
	}
	for i := 1; i < len(p); i++ {
		switch c := p[i]; {
		case c == '_', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '/' && p[i-1] != '/':
		default:
			return false
		}
	}
	return true
}

// SplitSignature returns the complete types that sig is made of, and false if
// it is not valid.
func SplitSignature(sig string) ([]string, bool) {
	if !validSignature(sig) {
		return nil, false
	}
	var types []string
	for sig != "" {
		end := typeEnd(sig, 0)
		types = append(types, sig[:end])
		sig = sig[end:]
	}
	return types, true
}
