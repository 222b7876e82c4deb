// Package network decides which network each machine gets, and sees to it that
// it gets it: addresses on both ends of its link, the way out, and the ports of
// the host that lead to it. It knows machines; how rules and links are made is
// for packages nft and link.
package network
