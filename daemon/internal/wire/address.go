package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// dialSocket connects to the first address of the list that answers. Only
// sockets of this host can pass descriptors, so only unix: addresses count.
func dialSocket(ctx context.Context, addresses string) (*net.UnixConn, error) {
	var errs []error
	for address := range strings.SplitSeq(addresses, ";") {
		name, err := socketName(address)
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
	return nil, fmt.Errorf("cannot connect to the bus at %s: %w", addresses, errors.Join(errs...))
}

// socketName returns the socket that a bus address names, as package net
// spells it: abstract ones begin with '@'.
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
