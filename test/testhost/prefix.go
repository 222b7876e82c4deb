package main

import (
	"bytes"
	"io"
	"sync"
)

// A prefixer writes whole lines, each with a prefix, so that builds side by
// side stay readable.
type prefixer struct {
	w      io.Writer
	prefix string

	mu   sync.Mutex
	rest []byte // a line not ended yet
}

func (p *prefixer) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()

	p.rest = append(p.rest, b...)
	for {
		line, rest, ok := bytes.Cut(p.rest, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		if _, err := p.w.Write(append(append([]byte(p.prefix), line...), '\n')); err != nil {
			return 0, err
		}
		p.rest = rest
	}
}
