// Package responder answers on the links of machines what a router would:
// DHCPv4, router solicitations, DHCPv6 and DNS.
package responder

import (
	_ "github.com/insomniacslk/dhcp/dhcpv4"
	_ "github.com/insomniacslk/dhcp/dhcpv6"
	_ "github.com/mdlayher/ndp"
	_ "golang.org/x/net/dns/dnsmessage"
)
