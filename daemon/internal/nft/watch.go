package nft

import (
	"context"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Watch calls damaged whenever somebody else has changed the tables, until ctx
// ends, and once at first: nobody would have told of what was before. Several
// changes while damaged runs are one. It may call Reconcile.
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
	news <- struct{}{}
	for foreign := false; ; {
		complete, err := t.foreignChanges(socket, &foreign)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot watch nftables: %w", err)
		}
		if foreign && complete {
			foreign = false
			select {
			case news <- struct{}{}:
			default: // it is told already, and does not look yet
			}
		}
	}
}

// foreignChanges waits for news, and notes whether somebody else has changed one
// of our tables. They are complete when the kernel has told of all of a batch.
func (t *Table) foreignChanges(socket *netlink.Conn, foreign *bool) (complete bool, err error) {
	messages, err := socket.Receive()
	if errors.Is(err, unix.ENOBUFS) {
		*foreign = true // something was missed
		return true, nil
	}
	if err != nil {
		return false, err
	}
	for _, m := range messages {
		if m.Header.Type == messageType(unix.NFT_MSG_NEWGEN) {
			complete = true
		} else if !t.conn.ports.has(m.Header.PID) && aboutUs(m) {
			*foreign = true
		}
	}
	return complete, nil
}

func aboutUs(m netlink.Message) (ours bool) {
	if m.Header.Type&0xff00 != unix.NFNL_SUBSYS_NFTABLES<<8 || len(m.Data) < 4 {
		return false
	}
	if family := m.Data[0]; family != byte(inetLayout.family) && family != byte(bridgeLayout.family) {
		return false
	}
	err := attributes(m.Data[4:], func(kind uint16, value []byte) error {
		if kind == unix.NFTA_TABLE_NAME {
			ours = text(value) == tableName
		}
		return nil
	})
	return ours && err == nil
}
