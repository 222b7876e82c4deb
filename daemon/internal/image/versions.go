package image

import (
	"cmp"
	"strings"
)

// compareVersions orders version numbers: negative if a is older than b. It
// compares segment by segment, numbers as numbers. A version is newer than its
// beginning, except that "1~rc1" comes before "1".
//
// Reference: UAPI.10 version format; string-util-fundamental.c,
// strverscmp_improved.
func compareVersions(a, b string) int {
	for {
		a, b = strings.TrimLeftFunc(a, isForeign), strings.TrimLeftFunc(b, isForeign)
		if d := skipSeparator(&a, &b, '~'); d != 0 {
			return d
		}
		if a == "" || b == "" {
			return cmp.Compare(len(a), len(b))
		}
		for _, separator := range []byte{'-', '^', '.'} {
			if d := skipSeparator(&a, &b, separator); d != 0 {
				return d
			}
		}
		if d := compareSegments(&a, &b); d != 0 {
			return d
		}
	}
}

// skipSeparator takes separator from both. Whoever has it alone is older.
func skipSeparator(a, b *string, separator byte) int {
	restA, inA := strings.CutPrefix(*a, string(separator))
	restB, inB := strings.CutPrefix(*b, string(separator))
	*a, *b = restA, restB
	switch {
	case inA == inB:
		return 0
	case inA:
		return -1
	}
	return 1
}

// compareSegments takes the leading digits from both, or the leading letters
// if neither begins with a digit. Digits are newer than none.
func compareSegments(a, b *string) int {
	if !startsWith(*a, isDigit) && !startsWith(*b, isDigit) {
		return strings.Compare(cut(a, isLetter), cut(b, isLetter))
	}
	x, y := cut(a, isDigit), cut(b, isDigit)
	if x == "" || y == "" {
		return cmp.Compare(len(x), len(y))
	}
	x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
	return cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y))
}

// cut takes the characters of a class that *s begins with from it.
func cut(s *string, class func(rune) bool) string {
	rest := strings.TrimLeftFunc(*s, class)
	segment := strings.TrimSuffix(*s, rest)
	*s = rest
	return segment
}

func startsWith(s string, class func(rune) bool) bool { return s != "" && class(rune(s[0])) }

func isDigit(r rune) bool { return '0' <= r && r <= '9' }

func isLetter(r rune) bool { return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' }

// isForeign reports whether r is no part of a version number. It only parts
// segments then.
func isForeign(r rune) bool {
	return !isDigit(r) && !isLetter(r) && !strings.ContainsRune("-.~^", r)
}
