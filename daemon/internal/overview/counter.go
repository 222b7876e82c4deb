package overview

import "sync/atomic"

// A counter deals numbers from 0 on, each once.
type counter struct{ n atomic.Int64 }

func (c *counter) take() int { return int(c.n.Add(1) - 1) }
