package bus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
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
// net spells them: abstract ones begin with '@'.
func socketNames(addresses string) ([]string, error) {
	var names []string
	for address := range strings.SplitSeq(addresses, ";") {
		name, err := socketName(address)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

func socketName(address string) (string, error) {
	params, ok := strings.CutPrefix(address, "unix:")
	if !ok {
		return "", fmt.Errorf("%q is no address of a unix socket", address)
	}
	for param := range strings.SplitSeq(params, ",") {
		key, value, _ := strings.Cut(param, "=")
		// D-Bus escapes as URLs do, but '+' stands for itself, as in a URL's path.
		value, err := url.PathUnescape(value)
		if err != nil {
			return "", fmt.Errorf("%q is no bus address: %w", address, err)
		}
		switch key {
		case "path":
			return value, nil
		case "abstract":
			return "@" + value, nil
		}
	}
	return "", fmt.Errorf("%q names neither a path nor an abstract socket", address)
}
