package image

import (
	"encoding/hex"
	"strings"
)

// maxHostname is the longest hostname Linux has, in bytes.
const maxHostname = 64

// parseHostname reads /etc/hostname: the first line that is neither empty nor
// a comment, made a valid name. It is "" if that leaves nothing.
//
// Reference: hostname-setup.c, read_etc_hostname_stream.
func parseHostname(text string) string {
	isLineEnd := func(r rune) bool { return r == '\n' || r == '\r' || r == 0 }
	for line := range strings.FieldsFuncSeq(text, isLineEnd) {
		line = strings.TrimSpace(line)
		if line != "" && line[0] != '#' {
			return cleanHostname(line)
		}
	}
	return ""
}

// cleanHostname leaves out what a hostname must not have: other characters,
// dots and hyphens at the ends, dots beside dots and hyphens. '?' and '$' stand
// for what the machine's ID fills in when it starts.
//
// Reference: hostname-util.c, hostname_cleanup.
func cleanHostname(s string) string {
	var name []byte
	last := byte('.')
	for i := 0; i < len(s) && len(name) < maxHostname; i++ {
		c := s[i]
		switch {
		case c == '.' && (last == '.' || last == '-'), c == '-' && last == '.':
			continue
		case c != '.' && c != '-' && !isHostnameChar(c):
			continue
		}
		name = append(name, c)
		last = c
	}
	return strings.TrimRight(string(name), ".-")
}

func isHostnameChar(c byte) bool {
	return isLetter(rune(c)) || isDigit(rune(c)) || c == '?' || c == '$'
}

// parseMachineID reads /etc/machine-id: 32 hexadecimal digits. Anything else,
// such as "uninitialized", is zero.
//
// Reference: id128-util.c, id128_read_fd.
func parseMachineID(text string) (id [16]byte) {
	digits := strings.TrimSuffix(text, "\n")
	if len(digits) != hex.EncodedLen(len(id)) {
		return id
	}
	decoded, err := hex.DecodeString(digits)
	if err != nil {
		return id
	}
	return [16]byte(decoded)
}
