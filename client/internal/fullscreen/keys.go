package fullscreen

import (
	"strings"
	"unicode/utf8"
)

// sequences are what terminals send for keys that are no characters.
var sequences = []struct{ sent, key string }{
	{"\x1b[A", "up"}, {"\x1bOA", "up"},
	{"\x1b[B", "down"}, {"\x1bOB", "down"},
	{"\x1b[5~", "pageup"}, {"\x1b[6~", "pagedown"},
	{"\x1b[H", "home"}, {"\x1bOH", "home"}, {"\x1b[1~", "home"},
	{"\x1b[F", "end"}, {"\x1bOF", "end"}, {"\x1b[4~", "end"},
}

// keysOf splits what was read at once into keys, and leaves out those that
// nobody knows here.
func keysOf(text string) (keys []string) {
	for text != "" {
		key, size := firstKey(text)
		if key != "" {
			keys = append(keys, key)
		}
		text = text[size:]
	}
	return keys
}

func firstKey(text string) (key string, size int) {
	if text[0] != '\x1b' {
		r, size := utf8.DecodeRuneInString(text)
		return string(r), size
	}
	for _, s := range sequences {
		if strings.HasPrefix(text, s.sent) {
			return s.key, len(s.sent)
		}
	}
	return "", unknownSize(text)
}

// unknownSize is how long a control sequence is: ESC, a bracket or O, parameters,
// and one letter or '~'.
func unknownSize(text string) int {
	if len(text) < 2 || text[1] != '[' && text[1] != 'O' {
		return 1
	}
	for i := 2; i < len(text); i++ {
		if c := text[i]; c >= '@' && c <= '~' {
			return i + 1
		}
	}
	return len(text)
}
