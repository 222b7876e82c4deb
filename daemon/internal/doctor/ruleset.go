package doctor

import (
	"github.com/google/nftables"
)

// A ruleset is all tables there are, whoever made them.
type ruleset struct {
	chains []*nftables.Chain
	rules  map[*nftables.Chain][]*nftables.Rule
}

func readRules(s *Space) (*ruleset, error) {
	c, err := s.netfilter()
	if err != nil {
		return nil, err
	}
	defer c.CloseLasting()
	r := &ruleset{rules: map[*nftables.Chain][]*nftables.Rule{}}
	if r.chains, err = c.ListChains(); err != nil {
		return nil, err
	}
	for _, chain := range r.chains {
		// Some rules the library cannot read; what is known of their chain is told.
		r.rules[chain], _ = c.GetRules(chain.Table, chain)
	}
	return r, nil
}
