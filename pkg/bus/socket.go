package bus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/machd/machd/pkg/bus/gate"
)

// DialSocket connects to the first address of the list that answers, and says
// nothing. Only sockets of this host can pass descriptors, so only unix:
// addresses count.
func DialSocket(ctx context.Context, addresses string) (*net.UnixConn, error) {
	names, err := socketNames(addresses)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, name := range names {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "unix", name)
		if err == nil {
			return conn.(*net.UnixConn), nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("cannot connect to the bus at %s: %w", addresses, errors.Join(errs...))
}

// socketNames returns the sockets that a bus address list names, as package
// net spells them.
func socketNames(addresses string) ([]string, error) {
	var names []string
	for address := range strings.SplitSeq(addresses, ";") {
		name, err := gate.SocketName(address)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}
