package gate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// errNoSocket says that an address is none of a socket of this host.
var errNoSocket = errors.New("not the address of a unix socket")

// dialSocket connects to the first address of the list that answers.
func dialSocket(ctx context.Context, addresses string) (*net.UnixConn, error) {
	var errs []error
	for address := range strings.SplitSeq(addresses, ";") {
		name, err := SocketName(address)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "unix", name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		return conn.(*net.UnixConn), nil
	}
	return nil, errors.Join(errs...)
}

// SocketName returns the socket of a bus address as package net spells it:
// abstract ones begin with '@'.
func SocketName(address string) (string, error) {
	params, ok := strings.CutPrefix(address, "unix:")
	if !ok {
		return "", fmt.Errorf("%q: %w", address, errNoSocket)
	}
	for param := range strings.SplitSeq(params, ",") {
		key, value, _ := strings.Cut(param, "=")
		// D-Bus escapes as URLs do, but '+' stands for itself, as in a URL's path.
		value, err := url.PathUnescape(value)
		if err != nil {
			return "", fmt.Errorf("cannot understand the bus address %q: %w", address, err)
		}
		switch key {
		case "path":
			return value, nil
		case "abstract":
			return "@" + value, nil
		}
	}
	return "", fmt.Errorf("%q: %w", address, errNoSocket)
}
