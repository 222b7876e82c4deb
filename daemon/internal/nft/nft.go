// Package nft keeps the one nftables table that machd has, and a bridge one for
// zones. It knows links, addresses and ports, no machines, and touches no table
// of anybody else.
package nft

import _ "github.com/google/nftables"
