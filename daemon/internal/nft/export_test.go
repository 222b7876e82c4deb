package nft

// LackBridges has t believe that the kernel has no rules for bridges.
func (t *Table) LackBridges() { t.bridge.missing = ErrNoBridge }
