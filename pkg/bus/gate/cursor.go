package gate

import (
	"encoding/binary"
	"strings"
)

// maxDepth is how deep D-Bus lets values nest: 32 arrays, 32 structs.
const maxDepth = 64

// A cursor reads values one after the other. Once it is broken it reads zeros.
type cursor struct {
	b      []byte
	pos    int
	order  binary.ByteOrder
	depth  int
	broken bool

	variant func(signature string) // of each variant, if there is one; arrays are looked into for it
}

func (c *cursor) align(to int) { c.pos = align(c.pos, to) }

// take returns the next n bytes, or zeros if there are not as many.
func (c *cursor) take(n int) []byte {
	if c.broken || n < 0 || c.pos > len(c.b) || n > len(c.b)-c.pos {
		c.broken = true
		return make([]byte, max(0, min(n, 8)))
	}
	taken := c.b[c.pos : c.pos+n]
	c.pos += n
	return taken
}

func (c *cursor) byte() byte { return c.take(1)[0] }

func (c *cursor) uint32() uint32 {
	c.align(4)
	return c.order.Uint32(c.take(4))
}

// string reads an s or an o.
func (c *cursor) string() string { return c.text(int(c.uint32())) }

// short reads a g.
func (c *cursor) short() string { return c.text(int(c.byte())) }

func (c *cursor) text(n int) string {
	s := string(c.take(n))
	c.take(1) // NUL
	return s
}

// skip passes over a value of the first type of signature and returns the rest
// of the signature.
func (c *cursor) skip(signature string) (rest string) {
	if c.depth++; c.depth > maxDepth || signature == "" {
		c.broken = true
	}
	defer func() { c.depth-- }()
	if c.broken {
		return ""
	}
	kind, rest := signature[0], signature[1:]
	switch kind {
	case 's', 'o':
		c.string()
	case 'g':
		c.short()
	case 'v':
		signature := c.short()
		if c.variant != nil {
			c.variant(signature)
		}
		if c.skip(signature) != "" {
			c.broken = true
		}
	case 'a':
		n := int(c.uint32())
		c.align(alignment(rest))
		elements, end := rest, c.pos+n
		rest = c.typeEnd(rest)
		if c.variant == nil || !strings.Contains(elements[:len(elements)-len(rest)], "v") {
			c.take(n)
			return rest
		}
		for !c.broken && c.pos < end {
			c.skip(elements)
		}
		c.broken = c.broken || c.pos != end
		return rest
	case '(', '{':
		c.align(8)
		for !c.broken && rest != "" && rest[0] != ')' && rest[0] != '}' {
			rest = c.skip(rest)
		}
		if rest == "" {
			c.broken = true
			return ""
		}
		return rest[1:]
	default:
		size := alignment(signature)
		c.align(size)
		c.take(size)
		c.broken = c.broken || size == 0
	}
	return rest
}

// alignment returns how the first type of signature is aligned. Fixed types
// are as big as that.
func alignment(signature string) int {
	if signature == "" {
		return 1
	}
	switch signature[0] {
	case 'n', 'q':
		return 2
	case 'b', 'i', 'u', 'h', 's', 'o', 'a':
		return 4
	case 'x', 't', 'd', '(', '{':
		return 8
	}
	return 1 // y, g, v
}

// typeEnd returns what follows the first type of signature.
func (c *cursor) typeEnd(signature string) string {
	depth := 0
	for i := range len(signature) {
		switch signature[i] {
		case 'a':
			continue
		case '(', '{':
			depth++
		case ')', '}':
			depth--
		}
		if depth == 0 {
			return signature[i+1:]
		}
	}
	c.broken = true
	return ""
}
