package doctor

import (
	"github.com/google/nftables"
)

// A ruleset is all tables there are, whoever made them.
type ruleset struct {
	chains []*nftables.Chain
	rules  map[*nftables.Chain][]*nftables.Rule
	unread map[*nftables.Chain]bool // some of its rules cannot be read
}

func readRules(s *Space) (*ruleset, error) {
	c, err := s.netfilter()
	if err != nil {
		return nil, err
	}
	defer c.CloseLasting()
	r := &ruleset{rules: map[*nftables.Chain][]*nftables.Rule{}, unread: map[*nftables.Chain]bool{}}
	if r.chains, err = c.ListChains(); err != nil {
		return nil, err
	}
	for _, chain := range r.chains {
		// Some rules the library cannot read; what is known of their chain is told.
		rules, err := c.GetRules(chain.Table, chain)
		r.rules[chain], r.unread[chain] = rules, err != nil
	}
	return r, nil
}
