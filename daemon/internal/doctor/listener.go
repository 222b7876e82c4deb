package doctor

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/machd/machd/pkg/machd"
)

// maxSockets bounds what is read of a machine's sockets, which it can have many of.
const maxSockets = 20000

// listeners returns by port the addresses that somebody in the namespace listens
// on.
func (s *Space) listeners(protocol machd.Protocol) (map[uint16][]netip.Addr, error) {
	all := map[uint16][]netip.Addr{}
	err := s.in(func() error {
		for _, name := range []string{string(protocol), string(protocol) + "6"} {
			f, err := os.Open("/proc/thread-self/net/" + name)
			if errors.Is(err, fs.ErrNotExist) {
				continue // no IPv6
			}
			if err != nil {
				return err
			}
			lines := bufio.NewScanner(f)
			for n := 0; lines.Scan() && n < maxSockets; n++ {
				if at, ok := listening(lines.Text(), protocol); ok {
					all[at.Port()] = append(all[at.Port()], at.Addr())
				}
			}
			f.Close()
		}
		return nil
	})
	return all, err
}

// listening reads a line of /proc/net/tcp and its like, and tells whether the
// socket listens: TCP in the state LISTEN, UDP without a peer.
func listening(line string, protocol machd.Protocol) (at netip.AddrPort, ok bool) {
	const listen, unconnected = "0A", "07"
	fields := strings.Fields(line)
	if len(fields) < 4 || fields[3] != map[machd.Protocol]string{machd.TCP: listen, machd.UDP: unconnected}[protocol] {
		return at, false
	}
	address, number, _ := strings.Cut(fields[1], ":")
	port, err := strconv.ParseUint(number, 16, 16)
	raw, hexErr := hex.DecodeString(address)
	if err != nil || hexErr != nil {
		return at, false
	}
	for i := 0; i+4 <= len(raw); i += 4 { // words in the order of the processor
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	addr, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr.Unmap(), uint16(port)), ok
}
