package nft

import (
	"context"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Watch calls damaged whenever somebody else has changed the tables, until ctx
// ends. Several changes while damaged runs are one. It may call Reconcile.
func (t *Table) Watch(ctx context.Context, damaged func()) error {
	socket, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return explain(err)
	}
	defer socket.Close()
	if err := socket.SetReadBuffer(bufferSize); err != nil {
		return err
	}
	if err := socket.JoinGroup(unix.NFNLGRP_NFTABLES); err != nil {
		return explain(err)
	}
	stop := context.AfterFunc(ctx, func() { socket.Close() })
	defer stop()

	news, done := make(chan struct{}, 1), make(chan struct{})
	defer func() { close(news); <-done }()
	go func() {
		defer close(done)
		for range news {
			damaged()
		}
	}()
	for {
		foreign, err := t.foreignChange(socket)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot watch nftables: %w", err)
		}
		if foreign {
			select {
			case news <- struct{}{}:
			default: // it will look after this
			}
		}
	}
}

// foreignChange waits for changes, and tells whether somebody else made one of
// our tables'.
func (t *Table) foreignChange(socket *netlink.Conn) (foreign bool, err error) {
	messages, err := socket.Receive()
	if errors.Is(err, unix.ENOBUFS) {
		return true, nil // something was missed
	}
	if err != nil {
		return false, err
	}
	for _, m := range messages {
		if m.Header.Type&0xff00 != unix.NFNL_SUBSYS_NFTABLES<<8 || len(m.Data) < 4 || t.conn.ports.has(m.Header.PID) {
			continue
		}
		if family := m.Data[0]; family != byte(inetLayout.family) && family != byte(bridgeLayout.family) {
			continue
		}
		// A new generation names no table; everything else does so first.
		if m.Header.Type == messageType(unix.NFT_MSG_NEWGEN) {
			continue
		}
		var table string
		err := attributes(m.Data[4:], func(kind uint16, value []byte) error {
			if kind == unix.NFTA_TABLE_NAME {
				table = text(value)
			}
			return nil
		})
		if err == nil && table == tableName {
			foreign = true
		}
	}
	return foreign, nil
}
