package responder

import (
	"bufio"
	"io"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// mostServers is how many servers of a resolv.conf are taken.
	mostServers = 8
	// longestConf is how much of it is read, bytes.
	longestConf = 64 << 10
)

// Upstreams returns a function that returns the DNS servers that the
// resolv.conf at path names, as it is now. It may be called by several
// goroutines at once. Without any there is one on this host, as in resolv.conf(5).
func Upstreams(path string) func() []netip.AddrPort {
	u := &upstreams{path: path}
	return u.get
}

// upstreams remembers what a file said for as long as it does not change.
type upstreams struct {
	path string

	mu      sync.Mutex
	read    os.FileInfo // the file as it was read, nil if it was not
	servers []netip.AddrPort
}

// get returns a list that its caller must not change.
func (u *upstreams) get() []netip.AddrPort {
	u.mu.Lock()
	defer u.mu.Unlock()
	now, err := os.Stat(u.path)
	if err != nil || !now.Mode().IsRegular() {
		u.read, u.servers = nil, localServer
		return u.servers
	}
	if u.read != nil && os.SameFile(now, u.read) && now.Size() == u.read.Size() && now.ModTime().Equal(u.read.ModTime()) {
		return u.servers
	}
	u.reload()
	return u.servers
}

// recent is how long ago a file must have been changed for its time to tell it
// from the next change.
const recent = 50 * time.Millisecond

func (u *upstreams) reload() {
	u.read, u.servers = nil, localServer
	file, err := os.Open(u.path)
	if err != nil {
		return
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return
	}
	u.servers = parseServers(file)
	if time.Since(info.ModTime()) > recent {
		u.read = info
	}
}

var localServer = []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), dnsPort)}

// parseServers reads a resolv.conf. Lines that nobody understands are passed
// over, as resolvers do.
func parseServers(r io.Reader) []netip.AddrPort {
	var servers []netip.AddrPort
	for lines := bufio.NewScanner(io.LimitReader(r, longestConf)); lines.Scan() && len(servers) < mostServers; {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if addr, err := netip.ParseAddr(fields[1]); err == nil {
			servers = append(servers, netip.AddrPortFrom(addr.Unmap(), dnsPort))
		}
	}
	if len(servers) == 0 {
		return localServer
	}
	return servers
}
