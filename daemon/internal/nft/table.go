package nft

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"golang.org/x/sys/unix"
)

// A Table is both tables. They are made with the first rules, as a host without
// any should not follow connections for nothing.
type Table struct {
	log *slog.Logger

	mu     sync.Mutex // what follows, and one change at a time
	conn   conn
	inet   half
	bridge half
}

// A half is one of the tables.
type half struct {
	layout
	reference shape // what the kernel makes of the layout
	missing   error // why it cannot be had
	made      bool  // as far as is known, it is as it should be but for its elements
}

// Open begins to keep the tables, and takes over those that are there. They
// outlast whoever made them, and what they have for others goes on; Reconcile
// makes it what it should be. The errors are ErrNotPermitted, ErrNoKernel and
// what the kernel says.
func Open(log *slog.Logger) (*Table, error) {
	t := &Table{log: log, inet: half{layout: inetLayout}, bridge: half{layout: bridgeLayout}}
	t.conn.ports = &portIDs{set: map[uint32]bool{}}
	if err := t.learn(&t.inet); err != nil {
		t.conn.close()
		if !errors.Is(err, ErrNotPermitted) && !errors.Is(err, ErrNoKernel) {
			err = fmt.Errorf("%w: %w", ErrNoKernel, err)
		}
		return nil, err
	}
	if err := t.learn(&t.bridge); err != nil {
		t.bridge.missing = fmt.Errorf("%w: %w", ErrNoBridge, err)
		log.Info("Machines cannot share a network: there can be no rules for bridges.", "error", err)
	}
	return t, nil
}

// Close ends keeping the tables, which stay.
func (t *Table) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.conn.close()
}

// Change takes out what remove says and puts in what add says, at once or not at
// all. What is to be removed may be gone, and what is to be added may be there,
// or be there with something else, which it replaces. Links that Ports lead to
// are among the Links.
func (t *Table) Change(remove, add Rules) error {
	oldInet, oldBridge, err := remove.places()
	if err != nil {
		return err
	}
	newInet, newBridge, err := add.places()
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !newBridge.empty() && t.bridge.missing != nil {
		return t.bridge.missing
	}

	var b batch
	t.inet.change(&b, oldInet, newInet)
	t.bridge.change(&b, oldBridge, newBridge)
	err = t.conn.send(&b)
	if err != nil && !errors.Is(err, ErrNotPermitted) {
		// Something was not as expected; the error does not say what, and need not
		// even mean that nothing was done.
		err = t.settle(func(b *batch) error {
			_, err := t.inet.settle(&t.conn, b, replacement(oldInet, newInet))
			if err == nil {
				_, err = t.bridge.settle(&t.conn, b, replacement(oldBridge, newBridge))
			}
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("cannot change the tables: %w", err)
	}
	t.inet.made = t.inet.made || !newInet.empty()
	t.bridge.made = t.bridge.made || !newBridge.empty()
	return nil
}

// change writes the change as if all were as it should be.
func (h *half) change(b *batch, remove, add *elements) {
	if !h.made && add.empty() {
		return
	}
	if !h.made {
		b.addLayout(h.layout, 0)
	}
	for _, s := range h.sets {
		if h.made {
			b.removeElements(h.family, s.name, remove.sets[s.name])
		}
		b.addElements(h.family, s.name, add.sets[s.name])
	}
}

// Remove removes the tables, whatever is in them.
func (t *Table) Remove() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b batch
	b.removeTable(t.inet.layout)
	if t.bridge.missing == nil {
		b.removeTable(t.bridge.layout)
	}
	t.inet.made, t.bridge.made = false, false
	return t.conn.send(&b)
}

// twinName is that of the table that learn makes for a moment.
const twinName = tableName + "_twin"

// learn has the kernel make a table of the layout that is not hooked in, and
// keeps what it tells of it. So it is known that it can, and what a table looks
// like that is as it should be, with whatever kernel.
func (t *Table) learn(h *half) error {
	b := batch{table: twinName}
	b.removeTable(h.layout)
	b.addLayout(h.layout, unix.NFT_TABLE_F_DORMANT)
	if err := t.conn.send(&b); err != nil {
		return err
	}
	var err error
	if h.reference, err = t.conn.shape(h.layout, twinName); err != nil {
		return err
	}
	h.reference.flags &^= unix.NFT_TABLE_F_DORMANT
	b = batch{table: twinName}
	b.removeTable(h.layout)
	if err := t.conn.send(&b); err != nil {
		return err
	}
	found, err := t.conn.shape(h.layout, tableName)
	if err != nil {
		return err
	}
	h.made = found.equal(h.reference)
	return nil
}
