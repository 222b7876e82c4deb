package nft

import "fmt"

// Reconcile makes the tables what want says, whatever somebody did to them, and
// returns what was lacking or too much: nothing if all was well. What was there
// keeps what it has counted. A table that nothing is wanted of is removed. Where
// there can be no rules for bridges it does all else, and returns ErrNoBridge if
// some are wanted.
func (t *Table) Reconcile(want Rules) (mended []string, err error) {
	inet, bridge, err := want.places()
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var lacks error
	if !bridge.empty() && t.bridge.missing != nil {
		bridge, lacks = newElements(), t.bridge.missing
	}
	err = t.settle(func(b *batch) error {
		mended = nil
		for _, part := range []struct {
			half *half
			want *elements
		}{{&t.inet, inet}, {&t.bridge, bridge}} {
			wrong, err := part.half.reconcile(&t.conn, b, part.want)
			if err != nil {
				return err
			}
			mended = append(mended, wrong...)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot mend the tables: %w", err)
	}
	t.inet.made, t.bridge.made = !inet.empty(), !bridge.empty()
	return distinct(mended), lacks
}

func (h *half) reconcile(c *conn, b *batch, want *elements) ([]string, error) {
	if !want.empty() {
		return h.settle(c, b, exactly(want))
	}
	if h.missing != nil {
		return nil, nil
	}
	found, err := c.shape(h.layout, tableName)
	if err != nil || !found.exists {
		return nil, err
	}
	b.removeTable(h.layout)
	return []string{fmt.Sprintf("table %s %s, which nothing needs", h.name, tableName)}, nil
}

// distinct leaves out what is there already: a port has elements in several sets.
func distinct(list []string) (one []string) {
	seen := map[string]bool{}
	for _, text := range list {
		if !seen[text] {
			one = append(one, text)
		}
		seen[text] = true
	}
	return one
}
