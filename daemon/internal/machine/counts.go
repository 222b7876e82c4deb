package machine

import (
	"maps"
	"sync"
)

// Counts are how many machines there have been since the daemon was started.
type Counts struct {
	Registered uint64
	Ended      map[string]uint64 // by the result of their ending
}

// counter counts machines.
type counter struct {
	mu     sync.Mutex
	counts Counts
}

func (c *counter) began() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts.Registered++
}

func (c *counter) ended(result string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts.Ended == nil {
		c.counts.Ended = map[string]uint64{}
	}
	c.counts.Ended[result]++
}

// Counts returns how many machines there have been. One whose end is not known
// yet has not ended.
func (m *Manager) Counts() Counts {
	m.counter.mu.Lock()
	defer m.counter.mu.Unlock()
	counts := m.counter.counts
	counts.Ended = maps.Clone(counts.Ended)
	return counts
}
