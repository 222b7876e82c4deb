package usage

import (
	"bytes"
	"io"
	"strconv"
)

// readAll reads as far as maxFile.
func readAll(r io.Reader) ([]byte, error) { return io.ReadAll(io.LimitReader(r, maxFile)) }

// number reads a file that is one number, nil if it is none.
func number(data []byte) *uint64 {
	n, err := strconv.ParseUint(string(bytes.TrimSpace(data)), 10, 64)
	if err != nil {
		return nil
	}
	return &n
}

// keyed reads one number of a file with lines like "usage_usec 1234".
func keyed(data []byte, key string) *uint64 {
	for line := range bytes.Lines(data) {
		if name, value, ok := bytes.Cut(line, []byte(" ")); ok && string(name) == key {
			return number(value)
		}
	}
	return nil
}

// transferred adds up a file with a line for each block device, like
// "8:0 rbytes=90112 wbytes=0 rios=22 wios=0 dbytes=0 dios=0".
func transferred(data []byte) (read, written *uint64) {
	var in, out uint64
	for line := range bytes.Lines(data) {
		for word := range bytes.FieldsSeq(line) {
			name, value, _ := bytes.Cut(word, []byte("="))
			n := number(value)
			switch {
			case n == nil:
			case string(name) == "rbytes":
				in += *n
			case string(name) == "wbytes":
				out += *n
			}
		}
	}
	return &in, &out
}
